import { spawn } from 'node:child_process';
import { airliftPath, stateEnv } from './airlift.js';
import { peerPath } from './peers.js';

/** Python script that runs a program on a pseudo-terminal and connects it to the script's standard input and output. */
const script = `
import fcntl, os, pty, select, struct, sys, termios
columns, rows = int(sys.argv[1]), int(sys.argv[2])
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
    os.execvp(sys.argv[3], sys.argv[3:])
watched = [0, fd]
while True:
    ready = select.select(watched, [], [])[0]
    try:
        if fd in ready:
            data = os.read(fd, 65536)
            if not data: break
            os.write(1, data)
        if 0 in ready:
            data = os.read(0, 65536)
            if data: os.write(fd, data)
            else: watched.remove(0)
    except OSError: break
status = os.waitpid(pid, 0)[1]
sys.exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
`;

export interface OnTerminal {
  /** Returns the output so far, including escape sequences. */
  shown(): string;
  /** Types text; Ctrl-C is `\u0003`. */
  type(text: string): void;
  /** Waits until the output matches. */
  until(pattern: RegExp): Promise<void>;
  readonly ended: Promise<{ readonly code: number | null; readonly shown: string }>;
}

/** Starts airlift on a new pseudo-terminal; the test must name python3 in `needs`. It is killed after two minutes. */
export function onTerminal(
  args: readonly string[],
  options: { columns?: number; rows?: number; env?: Readonly<Record<string, string>>; cwd?: string } = {},
): OnTerminal {
  const { columns = 80, rows = 24, env, cwd } = options;
  const child = spawn(
    peerPath('python3'),
    ['-c', script, String(columns), String(rows), process.execPath, airliftPath, ...args],
    {
      cwd,
      env: { ...process.env, ...stateEnv, TERM: 'xterm', ...env },
      stdio: ['pipe', 'pipe', 'inherit'],
      timeout: 120_000,
    },
  );
  let shown = '';
  const waiting = new Set<() => void>();
  const wake = (): void => waiting.forEach((look) => look());
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    shown += text;
    wake();
  });
  child.stdin.on('error', () => undefined);
  let isOver = false;
  const ended = new Promise<{ code: number | null; shown: string }>((done, fail) => {
    child.once('error', fail);
    child.once('close', (code) => {
      isOver = true;
      wake();
      done({ code, shown });
    });
  });
  return {
    shown: () => shown,
    type: (text) => void child.stdin.write(text),
    until: (pattern) =>
      new Promise((done, fail) => {
        const look = (): void => {
          if (pattern.test(shown)) done();
          else if (isOver) fail(new Error(`the terminal never showed ${String(pattern)}:\n${shown}`));
          else return;
          waiting.delete(look);
        };
        waiting.add(look);
        look();
      }),
    ended,
  };
}
