// A Python process that answers one request at a time; it starts with the first request, and again after a crash.
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

/** Lines of Python's standard error that a crash is reported with. */
const REMEMBERED_LINES = 12;

export class Peer {
  #python;
  #script;
  #child = null;
  #waiting = null;
  #queue = Promise.resolve();
  #next = 1;
  #lines = [];

  constructor(python, script) {
    this.#python = python;
    this.#script = script;
  }

  /** The handler's value. Rejects with what Python raised, or with how the process ended. */
  ask(name, args = {}, seconds = 600) {
    const result = this.#queue.then(() => this.#send(name, args, seconds));
    this.#queue = result.catch(() => undefined);
    return result;
  }

  /** Ends the process; the next request starts a new one. */
  async stop() {
    await this.#queue;
    const child = this.#child;
    if (child === null) return;
    const ended = new Promise((resolve) => child.once('close', resolve));
    child.stdin.end();
    await ended;
  }

  #start() {
    const child = spawn(this.#python, [join(here, this.#script)], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1', PYTHONUNBUFFERED: '1' },
    });
    this.#child = child;
    this.#lines = [];
    createInterface({ input: child.stdout }).on('line', (line) => {
      const answer = JSON.parse(line);
      const waiting = this.#waiting;
      if (waiting === null || answer.id !== waiting.id) return;
      if ('error' in answer) waiting.reject(new Error(answer.error));
      else waiting.resolve(answer.value);
    });
    createInterface({ input: child.stderr }).on('line', (line) => {
      this.#lines.push(line);
      if (this.#lines.length > REMEMBERED_LINES) this.#lines.shift();
    });
    child.stdin.on('error', () => undefined);
    child.on('error', (error) => this.#waiting?.reject(error));
    child.on('close', (code, signal) => {
      if (this.#child === child) this.#child = null;
      const said = this.#lines.filter((line) => line.trim() !== '').join(' | ');
      this.#waiting?.reject(new Error(`${this.#script} ended (${signal ?? code}): ${said.slice(-600)}`));
    });
  }

  #send(name, args, seconds) {
    if (this.#child === null) this.#start();
    const id = this.#next++;
    const child = this.#child;
    let timer;
    return new Promise((resolve, reject) => {
      this.#waiting = { id, resolve, reject };
      timer = setTimeout(() => {
        child.kill('SIGKILL');
        reject(new Error(`${this.#script} ${name}: no answer in ${seconds} s`));
      }, seconds * 1000);
      child.stdin.write(`${JSON.stringify({ id, do: name, ...args })}\n`);
    }).finally(() => {
      clearTimeout(timer);
      this.#waiting = null;
    });
  }
}
