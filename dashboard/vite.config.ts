import vue from '@vitejs/plugin-vue';
import { defineConfig } from 'vitest/config';
import { precompress } from './build/precompress.ts';

/** Where a Faultline listens while the dashboard is developed. */
const ADMIN = process.env['ADMIN_URL'] ?? 'http://127.0.0.1:4000';

export default defineConfig({
  plugins: [vue(), precompress()],
  define: {
    __VUE_OPTIONS_API__: 'false',
    __VUE_PROD_DEVTOOLS__: 'false',
    __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: 'false',
  },
  build: {
    target: 'es2022',
    // Every browser that is fit for ES2022 knows modulepreload.
    modulePreload: { polyfill: false },
    // The page's policy allows no inline style or script, so nothing is inlined.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
  test: { include: ['unit/**/*.test.ts'] },
  server: { proxy: { '/api': ADMIN, '/metrics': ADMIN } },
});
