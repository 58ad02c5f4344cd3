/** A terminal as far as airlift uses one: text that wraps, line ends, and the escape sequences that move and erase. */
export class Screen {
  readonly #lines: string[] = [''];
  #row = 0;
  #column = 0;
  /** Sequences that this terminal does not know. */
  readonly unknown: string[] = [];

  constructor(
    private readonly columns: number,
    text = '',
  ) {
    this.write(text);
  }

  write(text: string): void {
    for (const [piece] of text.matchAll(/\u001b\[[?0-9;]*[A-Za-z]|[^]/gu)) this.#take(piece);
  }

  /** All that was ever on it, the lines that have scrolled away too, without blanks at their ends. */
  get lines(): string[] {
    return this.#lines.map((line) => line.trimEnd());
  }

  /** The same with wrapped lines put together again, where a wrapped line is as wide as the terminal. */
  get text(): string {
    return this.#lines.map((line) => (line.length >= this.columns ? line : `${line}\n`)).join('');
  }

  #take(piece: string): void {
    const sequence = /^\u001b\[([?0-9;]*)([A-Za-z])$/.exec(piece);
    if (sequence !== null) this.#obey(piece, Number(sequence[1]?.replace('?', '') ?? 0), sequence[2]);
    else if (piece === '\r') this.#column = 0;
    else if (piece === '\n') this.#down();
    else this.#put(piece);
  }

  #obey(piece: string, number: number, letter: string | undefined): void {
    if (letter === 'A') this.#row = Math.max(0, this.#row - Math.max(1, number));
    else if (letter === 'J' && number === 0) {
      this.#lines.length = this.#row + 1;
      this.#lines[this.#row] = this.#line.slice(0, this.#column);
    } else if (number !== 25) this.unknown.push(piece);
  }

  #put(character: string): void {
    if (this.#column === this.columns) {
      this.#down();
      this.#column = 0;
    }
    const before = this.#line.slice(0, this.#column).padEnd(this.#column);
    this.#lines[this.#row] = before + character + this.#line.slice(this.#column + 1);
    this.#column++;
  }

  #down(): void {
    this.#row++;
    if (this.#row === this.#lines.length) this.#lines.push('');
  }

  get #line(): string {
    return this.#lines[this.#row] ?? '';
  }
}
