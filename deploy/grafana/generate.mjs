#!/usr/bin/env node
// Writes dashboards/*.json: each panel is one entry in sources/*.mjs. With --check it writes nothing,
// and fails where a file is not what it would write.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { COLUMNS, DATASOURCE } from './panels.mjs';
import overview from './sources/overview.mjs';
import latency from './sources/latency.mjs';
import jira from './sources/jira.mjs';
import handoff from './sources/handoff.mjs';
import upkeep from './sources/upkeep.mjs';
import load from './sources/load.mjs';

const dashboards = { overview, latency, jira, handoff, upkeep, load };

/** Puts panels side by side, and the next ones below. */
function placed(panels) {
  let [x, y, height] = [0, 0, 0];
  return panels.map(({ width, height: own, ...panel }, index) => {
    if (x + width > COLUMNS) [x, y, height] = [0, y + height, 0];
    const gridPos = { x, y, w: width, h: own };
    x += width;
    height = Math.max(height, own);
    const source = panel.type === 'row' ? {} : { datasource: DATASOURCE };
    return { id: index + 1, ...panel, ...source, gridPos };
  });
}

const variable = (name, label, query) => ({
  name,
  label,
  type: 'query',
  datasource: DATASOURCE,
  query: { qryType: 1, query, refId: name },
  definition: query,
  refresh: 2,
  sort: 1,
  multi: true,
  includeAll: true,
  allValue: '.+',
  current: { text: ['All'], value: ['$__all'] },
});

const dashboard = (name, { title, description, panels }) => ({
  uid: `faultline-${name}`,
  title,
  description,
  tags: ['faultline'],
  schemaVersion: 39,
  version: 1,
  editable: true,
  graphTooltip: 1,
  refresh: '30s',
  time: { from: 'now-3h', to: 'now' },
  timezone: 'browser',
  links: [{ type: 'dashboards', tags: ['faultline'], title: 'Faultline', asDropdown: false, includeVars: true, keepTime: true }],
  templating: {
    list: [
      {
        name: 'datasource',
        label: 'Prometheus',
        type: 'datasource',
        query: 'prometheus',
        current: { text: 'Prometheus', value: 'faultline-prometheus' },
      },
      variable('environment', 'Environment', 'label_values(up{job=~"faultline-.+"}, environment)'),
      variable('instance', 'Instance', 'label_values(up{job=~"faultline-.+",environment=~"$environment"}, instance)'),
    ],
  },
  annotations: { list: [] },
  panels: placed(panels),
});

const directory = join(dirname(fileURLToPath(import.meta.url)), 'dashboards');
const isCheck = process.argv.includes('--check');
mkdirSync(directory, { recursive: true });
for (const [name, what] of Object.entries(dashboards)) {
  const path = join(directory, `${name}.json`);
  const text = `${JSON.stringify(dashboard(name, what), null, 2)}\n`;
  if (!isCheck) writeFileSync(path, text);
  else if (readFileSync(path, 'utf8') !== text) {
    console.error(`${path} is not what deploy/grafana/generate.mjs writes`);
    process.exitCode = 1;
  }
}
