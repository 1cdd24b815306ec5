// What is measured, and what it needs: a throw-away PostgreSQL, and the program as a process.

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readFileSync, readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

const PATIENCE = 60_000; // milliseconds, for anything to start or to end
/** Clock ticks of /proc: the same on every Linux that there is. */
const TICKS_A_SECOND = 100;

const isRoot = () => process.getuid() === 0;

export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

export async function eventually(what, attempt, patience = PATIENCE) {
  const started = Date.now();
  for (;;) {
    const outcome = await attempt();
    if (outcome) return outcome;
    if (Date.now() - started > patience) throw new Error(`not within ${patience} ms: ${what}`);
    await sleep(50);
  }
}

/** A program of PostgreSQL: the newest version below Debian's directory, or on the path. */
function binary(name) {
  const root = '/usr/lib/postgresql';
  if (!existsSync(root)) return name;
  const versions = readdirSync(root).sort((a, b) => Number(b) - Number(a));
  const found = versions.map((version) => `${root}/${version}/bin/${name}`).find(existsSync);
  return found ?? name;
}

/** PostgreSQL does not run as root: Debian's package brings a user for it. Dies with us. */
function asServerUser(program, args) {
  const user = isRoot() ? ['--reuid', 'postgres', '--regid', 'postgres', '--clear-groups'] : [];
  return ['setpriv', ['--pdeathsig', 'QUIT', ...user, '--', program, ...args]];
}

/**
 * What a store is to be given that takes tens of thousands of rows a second (docs/capacity.md): without
 * it there is a checkpoint each 20 s, and those who wait for the disk wait for each of them.
 */
const POSTGRES = {
  max_wal_size: '4GB',
  shared_buffers: '1GB',
  backend_flush_after: '256kB',
};

/** With fsync, as it comes, but for what is above. */
export async function startPostgres(directory) {
  const home = `${directory}/postgres`;
  mkdirSync(home);
  if (isRoot()) execFileSync('chown', ['postgres', home]);
  const data = `${home}/data`;
  const initdb = ['--auth=trust', '--username=postgres', '--encoding=UTF8', '--no-locale', '-D', data];
  execFileSync(...asServerUser(binary('initdb'), initdb), { stdio: 'pipe', cwd: '/' });
  const port = await freePort();
  const args = ['-D', data, '-p', String(port)];
  const settings = { listen_addresses: '127.0.0.1', unix_socket_directories: home, ...POSTGRES };
  args.push(...Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]));
  const log = openSync(`${directory}/postgres.log`, 'a');
  const server = spawn(...asServerUser(binary('postgres'), args), {
    stdio: ['ignore', log, log],
    cwd: '/',
  });
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
  const ready = ['-q', '-h', '127.0.0.1', '-p', String(port)];
  await eventually('PostgreSQL answers', () => {
    if (server.exitCode !== null) throw new Error(readFileSync(`${directory}/postgres.log`, 'utf8'));
    return succeeds(binary('pg_isready'), ready);
  });
  return {
    url,
    version: execFileSync(binary('postgres'), ['--version'], { encoding: 'utf8' }).trim(),
    cpu: () => familyCpu(server.pid),
    number: (sql) => Number(execFileSync(binary('psql'), ['-XAtqc', sql, url], { encoding: 'utf8' })),
    async stop() {
      server.kill('SIGINT');
      if (server.exitCode === null) await once(server, 'exit');
    },
  };
}

function succeeds(program, args) {
  try {
    execFileSync(program, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** `more` are settings of the environment, and `command`, which is `run` unless said. */
export async function startFaultline(program, directory, { command = 'run', ...more }) {
  const [receiver, admin] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
  const log = openSync(`${directory}/faultline.log`, 'a');
  const child = spawn(program, [command], {
    cwd: directory,
    stdio: ['ignore', 'ignore', log],
    env: {
      PATH: process.env.PATH,
      FAULTLINE_RECEIVER__LISTEN: receiver,
      FAULTLINE_ADMIN__LISTEN: admin,
      FAULTLINE_SPOOL__DIR: `${directory}/spool`,
      FAULTLINE_TELEMETRY__FORMAT: 'json',
      ...more,
    },
  });
  const ended = once(child, 'exit');
  const read = async (path) => {
    const answer = await fetch(`http://${admin}${path}`, { headers: { accept: 'application/json' } });
    if (!answer.ok) throw new Error(`GET ${path}: ${answer.status}`);
    return answer.json();
  };
  const isReady = () => fetch(`http://${admin}/readyz`).then((answer) => answer.ok, () => false);
  await eventually('the program is ready', () => {
    if (child.exitCode !== null) throw new Error(readFileSync(`${directory}/faultline.log`, 'utf8'));
    return isReady();
  });
  return {
    receiver,
    version: execFileSync(program, ['--version'], { encoding: 'utf8' }).trim(),
    usage: () => usage(child.pid),
    ledger: () => read('/api/ledger'),
    /** The sum of a metric's samples, whatever their labels. */
    async metric(name) {
      const text = await (await fetch(`http://${admin}/metrics`)).text();
      const found = text.split('\n').filter((line) => new RegExp(`^${name}[ {]`).test(line));
      return found.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
    },
    /** Waits until nothing is in flight. */
    settled: (patience) =>
      eventually(
        'nothing is in flight',
        async () => {
          const ledger = await read('/api/ledger').catch(() => null);
          const lines = Object.values(ledger?.sources ?? { none: { in_flight: 1 } });
          return lines.every((line) => line.in_flight === 0) && ledger;
        },
        patience,
      ),
    async stop() {
      child.kill('SIGTERM');
      const [code] = await ended;
      if (code !== 0) throw new Error(`the program ended with ${code}`);
    },
  };
}

/** The fields of /proc's stat from the third on; the name in brackets before them may hold spaces. */
const statOf = (pid) => readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');

/** Seconds of processor time of a process, of its children that live, and of those that have ended. */
function familyCpu(parent) {
  let ticks = 0;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    let stat;
    try {
      stat = statOf(pid);
    } catch {
      continue; // It has ended meanwhile.
    }
    // The fields 14 to 17 are utime, stime, and both of the children that were waited for.
    if (Number(pid) === parent) ticks += [11, 12, 13, 14].reduce((sum, at) => sum + Number(stat[at]), 0);
    else if (Number(stat[1]) === parent) ticks += Number(stat[11]) + Number(stat[12]);
  }
  return ticks / TICKS_A_SECOND;
}

/** Memory in MiB, open files, and seconds of processor time of a process. */
function usage(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const stat = statOf(pid);
  return {
    rss: Number(/^VmRSS:\s+(\d+)/m.exec(status)[1]) / 1024,
    fds: readdirSync(`/proc/${pid}/fd`).length,
    cpu: (Number(stat[11]) + Number(stat[12])) / TICKS_A_SECOND,
  };
}
