// What a message costs in bytes: sent by few clients, so that no load generator is needed. What it
// costs in processor time is seen under load only: scripts/load ramp, scripts/bench.

import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { eventually, freePort, startFaultline } from './servers.mjs';

const CLIENTS = 20;

/** Sends each body of both kinds once; gives how much that was. */
async function send(receiver, kinds) {
  const sent = { requests: 0, messages: 0, bytes: 0 };
  for (const kind of kinds) {
    const bodies = readFileSync(kind.file, 'utf8').trimEnd().split('\n');
    const count = Math.round(bodies.length * kind.share);
    let next = 0;
    const client = async () => {
      while (next < count) {
        const body = bodies[next];
        next += 1;
        const headers = { 'content-type': kind.type };
        const answer = await fetch(`http://${receiver}${kind.path}`, { method: 'POST', headers, body });
        await answer.arrayBuffer();
        if (!answer.ok) throw new Error(`POST ${kind.path}: ${answer.status}`);
        sent.requests += 1;
        sent.messages += kind.messages;
        sent.bytes += Buffer.byteLength(body);
      }
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));
  }
  return sent;
}

async function startRedis() {
  const port = await freePort();
  const args = ['redis-server', '--port', String(port), '--save', '', '--appendonly', 'no'];
  const server = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...args], { stdio: 'ignore' });
  const ask = (...command) =>
    execFileSync('redis-cli', ['-p', String(port), ...command], { encoding: 'utf8', stdio: 'pipe' }).trim();
  await eventually('Redis answers', () => {
    try {
      return ask('PING') === 'PONG';
    } catch {
      return false;
    }
  });
  return { url: `redis://127.0.0.1:${port}`, ask, stop: () => server.kill() };
}

/** Bytes a message in a relay's spool and in Redis, while no hub takes anything. */
async function handedOver(binary, directory, kinds, compress) {
  mkdirSync(directory);
  const redis = await startRedis();
  const relay = await startFaultline(binary, directory, {
    command: 'relay',
    FAULTLINE_HANDOFF__URL: redis.url,
    FAULTLINE_HANDOFF__ENVIRONMENT: 'production',
    FAULTLINE_HANDOFF__COMPRESS: compress,
  });
  try {
    const { messages, requests } = await send(relay.receiver, kinds);
    const stream = 'faultline:{production:0}:stream';
    let before = -1;
    const used = () => Number(redis.ask('MEMORY', 'USAGE', stream, 'SAMPLES', '0')) || 0;
    // What is on its way is there when nothing more comes for a while.
    for (let now = used(); now !== before; now = used()) {
      before = now;
      await sleep(1000);
    }
    const spool = await relay.metric('faultline_spool_written_bytes_total');
    return { redis: before / messages, spool: spool / messages, requests, messages };
  } finally {
    await relay.stop();
    redis.stop();
  }
}

/** All of them, in bytes a message. `storage` says what PostgreSQL holds until now. */
export async function costs(binary, directory, kinds, program, storage) {
  await send(program.receiver, kinds);
  await program.settled();
  const before = storage();
  const sent = await send(program.receiver, kinds);
  await program.settled();
  const after = storage();
  const each = (key) => (after[key] - before[key]) / (after.rows - before.rows);
  const zstd = await handedOver(binary, `${directory}/zstd`, kinds, 'zstd');
  const none = await handedOver(binary, `${directory}/none`, kinds, 'none');
  return {
    messagesPerRequest: sent.messages / sent.requests,
    body: sent.bytes / sent.messages,
    spool: zstd.spool,
    redisZstd: zstd.redis,
    redisNone: none.redis,
    postgres: each('bytes'),
    postgresWal: each('wal'),
  };
}
