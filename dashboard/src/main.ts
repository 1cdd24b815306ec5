import './styles/tokens.css';
import './styles/base.css';
import './styles/parts.css';
import './styles/list.css';
import './theme';
import { createApp } from 'vue';
import App from './App.vue';
import { startKeys } from './keys';
import { router } from './router';

startKeys();
createApp(App).use(router).mount('#app');
