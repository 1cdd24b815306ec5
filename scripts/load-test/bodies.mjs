// What the load consists of: a shop's log drains and error reports, with the framing that Heroku and
// programs use. Each body stands in one line of a file, since the generator reads one a line; so
// messages have no line feed at their end, which Logplex allows.

import { createWriteStream } from 'node:fs';
import { once } from 'node:events';
import { randomUUID } from 'node:crypto';

const below = (bound) => Math.floor(Math.random() * bound);
const pick = (list) => list[below(list.length)];
const between = (low, high) => low + below(high - low);

const DYNOS = ['web.1', 'web.2', 'web.3', 'web.4', 'worker.1'];
const PATHS = [
  () => '/',
  () => `/products/${below(5000)}`,
  () => `/search?q=${pick(['lamp', 'chair', 'desk', 'rug'])}`,
  () => `/users/${below(90_000)}/orders`,
  () => '/cart',
  () => '/checkout',
];

/** A message of RFC 5424 as Heroku writes it; times tell their microseconds. */
function line(priority, source, dyno, text) {
  const fraction = String(below(1000)).padStart(3, '0');
  const now = new Date().toISOString().replace('Z', `${fraction}+00:00`);
  return `<${priority}>1 ${now} host ${source} ${dyno} - ${text}`;
}

function router() {
  const isBad = Math.random() < 0.03;
  const status = isBad ? 503 : pick([200, 200, 200, 201, 302, 304, 404]);
  const at = isBad ? 'at=error code=H12 desc="Request timeout"' : 'at=info';
  const text =
    `${at} method=${pick(['GET', 'GET', 'POST'])} path="${pick(PATHS)()}" host=shop.example.com ` +
    `request_id=${randomUUID()} fwd="203.0.113.${below(255)}" dyno=${pick(DYNOS)} ` +
    `connect=${below(3)}ms service=${isBad ? 30_000 : between(3, 400)}ms status=${status} ` +
    `bytes=${between(200, 40_000)} protocol=https`;
  return line(158, 'heroku', 'router', text);
}

const LINES = [
  () => line(190, 'app', pick(DYNOS), `order ${below(1e9)} of user ${below(90_000)} is placed`),
  () => line(190, 'app', pick(DYNOS), `Completed 200 OK in ${below(400)}ms (ActiveRecord: ${below(90)}ms)`),
  () => line(190, 'app', pick(DYNOS), `cache miss for basket:${randomUUID()}`),
  () => line(187, 'app', pick(DYNOS), `payment ${below(1e6)} refused: card expired`),
  () => line(45, 'heroku', pick(DYNOS), `source=${pick(DYNOS)} sample#memory_total=${between(90, 500)}.20MB`),
];

/** Messages with their octet counts in front. */
const framed = (messages) =>
  messages.map((message) => `${Buffer.byteLength(message)} ${message}`).join('');

function drain(frames) {
  return framed(Array.from({ length: frames }, () => (Math.random() < 0.6 ? router() : pick(LINES)())));
}

const REPORTS = [
  () => ({
    message: `payment ${below(1e6)} refused: card expired`,
    stackTrace: 'PaymentError: card expired\n    at charge (/app/src/payment.js:42:11)',
    service: 'checkout',
  }),
  () => ({
    message: `stock of product ${below(5000)} is negative`,
    level: 'warning',
    service: 'warehouse',
    attributes: { warehouse: pick(['hamburg', 'lyon']) },
  }),
  () => ({
    message: `session ${randomUUID()} has no user`,
    stackTrace: 'TypeError: id of undefined\n    at userOf (/app/src/session.js:9:20)',
    service: 'web',
  }),
];

const report = () => JSON.stringify({ timestamp: new Date().toISOString(), ...pick(REPORTS)() });

async function write(path, count, make) {
  const file = createWriteStream(path);
  let bytes = 0;
  for (let index = 0; index < count; index += 1) {
    const body = make();
    bytes += Buffer.byteLength(body);
    if (!file.write(`${body}\n`)) await once(file, 'drain');
  }
  file.end();
  await once(file, 'finish');
  return bytes / count;
}

/**
 * The two kinds of requests, with the share of each, the file of their bodies, and how many messages
 * each body holds.
 */
export async function kinds(directory, { bodies, frames }) {
  const logdrains = `${directory}/logdrains`;
  const errors = `${directory}/errors`;
  return [
    {
      name: 'logdrains',
      share: 0.8,
      path: '/logdrains?service=shop',
      type: 'application/logplex-1',
      headers: ['User-Agent: Logplex/v72', 'Logplex-Drain-Token: d.01234567-89ab-cdef-0123-456789abcdef'],
      file: logdrains,
      messages: frames,
      bytes: await write(logdrains, bodies, () => drain(frames)),
    },
    {
      name: 'errors',
      share: 0.2,
      path: '/errors/log',
      type: 'application/json',
      headers: [],
      file: errors,
      messages: 1,
      bytes: await write(errors, bodies, report),
    },
  ];
}
