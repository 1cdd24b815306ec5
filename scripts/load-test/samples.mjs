// What is looked at every few seconds while the load runs.

/** Samples of a process, each with the time in seconds since the first one. */
export class Samples {
  #program;
  #timer;
  #started;
  #looking = Promise.resolve();
  all = [];

  constructor(program) {
    this.#program = program;
  }

  async start(everySeconds) {
    this.#started = performance.now();
    await this.#look();
    this.#timer = setInterval(() => {
      this.#looking = this.#looking.then(() => this.#look());
    }, everySeconds * 1000);
  }

  /** Seconds since the start. */
  now() {
    return (performance.now() - this.#started) / 1000;
  }

  async #look() {
    const at = this.now();
    // Connections come and go as the generator likes; what is open beside them must not grow.
    const connections = await this.#program.metric('faultline_http_connections_open').catch(() => 0);
    const usage = this.#program.usage();
    // Under a load that keeps it from answering, the next look is soon enough.
    const ledger = await this.#program.ledger().catch(() => null);
    if (!ledger) return;
    const sum = (key) =>
      Object.values(ledger.sources).reduce((total, line) => total + line[key], 0);
    this.all.push({
      at,
      ...usage,
      otherFds: usage.fds - connections,
      received: sum('received'),
      stored: sum('stored'),
      inFlight: sum('in_flight'),
    });
  }

  async stop() {
    clearInterval(this.#timer);
    await this.#looking;
    await this.#look();
  }
}

export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
};

/** Messages a second between each two samples, at the time of the later one. */
export function rates(samples, key) {
  return samples.slice(1).map((sample, index) => {
    const before = samples[index];
    return [sample.at, (sample[key] - before[key]) / (sample.at - before.at)];
  });
}
