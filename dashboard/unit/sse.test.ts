import { expect, it } from 'vitest';
import { Parser } from '../src/sse';

const STREAM = ': beat\n\nevent: fault\nid: b-1\ndata: {"id":\ndata: 7}\n\nid: b-2\nevent: gap\ndata: {}\r\n\r\ndata:x\n\n';
const EXPECTED = [
  { event: 'fault', data: '{"id":\n7}', id: 'b-1' },
  { event: 'gap', data: '{}', id: 'b-2' },
  { event: 'message', data: 'x', id: 'b-2' },
];

it.each([1, 2, 3, 7, 1000])('reads a stream in pieces of %d', (size) => {
  const parser = new Parser();
  const messages = [];
  for (let at = 0; at < STREAM.length; at += size) messages.push(...parser.push(STREAM.slice(at, at + size)));
  expect(messages).toEqual(EXPECTED);
});

it('does not tell what is not complete', () => {
  expect(new Parser().push('data: half')).toEqual([]);
  expect(new Parser().push('event: nothing\n\n')).toEqual([]);
});
