/** A simulated terminal: wrapped text, line ends, and the escape sequences that airlift uses to move the cursor and erase text. */
export class Screen {
  readonly #lines: string[] = [''];
  #row = 0;
  #column = 0;
  /** Escape sequences that this terminal does not know. */
  readonly unknown: string[] = [];

  constructor(
    private readonly columns: number,
    text = '',
  ) {
    this.write(text);
  }

  write(text: string): void {
    for (const [piece] of text.matchAll(/\u001b\[[?0-9;]*[A-Za-z]|[^]/gu)) this.#process(piece);
  }

  /** All lines, including those that have scrolled away, without blanks at their ends. */
  get lines(): string[] {
    return this.#lines.map((line) => line.trimEnd());
  }

  /** All lines, with wrapped lines joined: a line as wide as the terminal counts as wrapped. */
  get text(): string {
    return this.#lines.map((line) => (line.length >= this.columns ? line : `${line}\n`)).join('');
  }

  #process(piece: string): void {
    const sequence = /^\u001b\[([?0-9;]*)([A-Za-z])$/.exec(piece);
    if (sequence !== null) this.#execute(piece, Number(sequence[1]?.replace('?', '') ?? 0), sequence[2]);
    else if (piece === '\r') this.#column = 0;
    else if (piece === '\n') this.#down();
    else this.#put(piece);
  }

  #execute(piece: string, number: number, letter: string | undefined): void {
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
