import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const TOOL = fileURLToPath(new URL('cluster', import.meta.url));
const DEVMGR = fileURLToPath(new URL('../../packages/devmgr/bin/devmgr.js', import.meta.url));
const PORTS = ['ETCD', 'ETCD_PEER', 'APISERVER', 'SCHEDULER', 'KCM', 'KUBELET', 'KUBELET_HEALTH'];
const run = promisify(execFile);

/** How many ranges of ports are tried; they are chosen below those the system gives away. */
const ATTEMPTS = 5;

/** A Kubernetes of one node on loopback: etcd, API server, scheduler, controllers, kubelet, containerd. */
export class Cluster {
  /** Everything it writes is in here. */
  readonly dir: string;
  readonly #plugins: ChildProcess[] = [];
  readonly #keeper: ChildProcess;

  private constructor(dir: string) {
    this.dir = dir;
    // Takes the cluster down when this process ends before it could do so itself, by Ctrl-C or worse.
    const script = 'tail --pid="$1" -f /dev/null; bash "$0" --dir "$2" down --wipe';
    const words = ['-c', script, TOOL, String(process.pid), dir];
    this.#keeper = spawn('bash', words, { detached: true, stdio: 'ignore' });
    this.#keeper.unref();
  }

  static async up(): Promise<Cluster> {
    // Socket paths are short: not below a deep temporary directory.
    const cluster = new Cluster(mkdtempSync('/tmp/dmc-'));
    for (let attempt = 1; ; attempt++) {
      const first = 20_000 + Math.floor(Math.random() * 10_000);
      const ports = Object.fromEntries(PORTS.map((name, index) => [`CLUSTER_${name}_PORT`, String(first + index)]));
      try {
        await run('bash', [TOOL, '--dir', cluster.dir, 'up'], { env: { ...process.env, ...ports }, timeout: 150_000 });
        return cluster;
      } catch (error) {
        const inUse = String((error as { stderr?: string }).stderr).includes('is in use');
        if (inUse && attempt < ATTEMPTS) continue;
        await cluster.down();
        throw error;
      }
    }
  }

  /** The node's /var/lib/kubelet, seen from outside. */
  get kubeletDir(): string {
    return join(this.dir, 'kubelet');
  }

  async kubectl(...args: readonly string[]): Promise<string> {
    return (await this.#tool(['kubectl', ...args])).stdout;
  }

  async apply(manifest: unknown): Promise<void> {
    const path = join(this.dir, 'manifest.json');
    writeFileSync(path, JSON.stringify(manifest));
    await this.kubectl('apply', '-f', path);
  }

  /** Starts devmgr where the node's /var/lib/kubelet is what it is for plugins. */
  plugin(...args: readonly string[]): ChildProcess & { readonly output: () => string } {
    const words = [TOOL, '--dir', this.dir, 'plugin', '--', process.execPath, DEVMGR, ...args];
    const child = spawn('bash', words, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NO_COLOR: '1' } });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => (output += text.toString()));
    this.#plugins.push(child);
    return Object.assign(child, { output: () => output });
  }

  /** Runs a devmgr command to its end, on the node's directory from outside. */
  async devmgr(...args: readonly string[]): Promise<string> {
    const words = [DEVMGR, ...args, '--root-dir', this.kubeletDir];
    return (await run(process.execPath, words, { timeout: 30_000 })).stdout;
  }

  async stop(program: string): Promise<void> {
    await this.#tool(['stop', program]);
  }

  async start(program: string): Promise<void> {
    await this.#tool(['start', program]);
  }

  /** What its programs complained about last. */
  complaints(): string {
    return readdirSync(join(this.dir, 'log'))
      .flatMap((name) => readFileSync(join(this.dir, 'log', name), 'utf8').split('\n'))
      .filter((line) => /^[EF]\d|level=(error|fatal)/.test(line))
      .slice(-20)
      .join('\n');
  }

  /** Ends everything; answers what is left of it on the machine, which should be nothing. */
  async down(): Promise<string[]> {
    for (const child of this.#plugins) if (child.exitCode === null) child.kill('SIGTERM');
    await this.#tool(['down', '--wipe']).catch((error: unknown) => {
      console.error(error);
    });
    if (this.#keeper.pid !== undefined && this.#keeper.exitCode === null) {
      const ended = once(this.#keeper, 'exit');
      process.kill(-this.#keeper.pid, 'SIGKILL');
      await ended;
    }
    rmSync(this.dir, { recursive: true, force: true });
    return this.#left();
  }

  #left(): string[] {
    const holds = (path: string): boolean => {
      try {
        return readFileSync(path, 'utf8').includes(`${this.dir}/`);
      } catch {
        return false; // The process has ended meanwhile.
      }
    };
    const processes = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    const files = processes.flatMap((pid) => [`/proc/${pid}/cmdline`, `/proc/${pid}/mountinfo`]);
    const name = `cluster-${createHash('sha256').update(this.dir).digest('hex').slice(0, 8)}`;
    const cgroups = readdirSync('/sys/fs/cgroup').map((controller) => `/sys/fs/cgroup/${controller}/${name}`);
    return [...files.filter(holds), ...cgroups.filter((path) => existsSync(path))];
  }

  async #tool(args: readonly string[]): Promise<{ stdout: string }> {
    return run('bash', [TOOL, '--dir', this.dir, ...args], { timeout: 120_000, maxBuffer: 64 << 20 });
  }
}
