import assert from 'node:assert/strict';
import test from 'node:test';

import { plot, shown, ticks } from './plots.mjs';

test('axes have round numbers and reach the highest value', () => {
  assert.deepEqual(ticks(10, 5), [0, 2, 4, 6, 8, 10]);
  assert.deepEqual(ticks(73, 5), [0, 20, 40, 60, 80]);
  assert.deepEqual(ticks(0, 5).length, 2);
  assert.equal(shown(12_345), '12.3 k');
});

test('a plot names what it shows and holds each line', () => {
  const series = [
    { name: 'a & b', points: [[0, 1], [10, 5]] },
    { name: 'c', points: [[0, 2], [10, 3]] },
  ];
  const svg = plot({ title: 'throughput', unit: 'messages/s', series, marks: [[5, '50 connections']] });
  assert.match(svg, /^<svg /);
  assert.equal(svg.match(/<polyline/g).length, 2);
  assert.match(svg, /a &#38; b/);
  assert.match(svg, /50 connections/);
  assert.match(svg, /prefers-color-scheme: dark/);
  assert.doesNotMatch(svg, /NaN|undefined/);
});
