/** What a server says at `/metrics`, as numbers by series. */
export class MetricsPage {
  /** `name{label="value"}` → number, labels in the order of the page. */
  readonly series: ReadonlyMap<string, number>;
  /** `name` → kind. */
  readonly kinds: ReadonlyMap<string, string>;

  private constructor(readonly text: string) {
    const series = new Map<string, number>();
    const kinds = new Map<string, string>();
    for (const line of text.split('\n')) {
      const [, name = '', kind = ''] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? [];
      if (name !== '') kinds.set(name, kind);
      if (line === '' || line.startsWith('#')) continue;
      const at = line.lastIndexOf(' ');
      series.set(line.slice(0, at), Number(line.slice(at + 1)));
    }
    this.series = series;
    this.kinds = kinds;
  }

  static async read(url: string): Promise<MetricsPage> {
    const response = await fetch(`${url}/metrics`);
    if (response.status !== 200) throw new Error(`/metrics answered ${response.status}`);
    return new MetricsPage(await response.text());
  }

  /** 0 where there is no such series yet. `name` is without the prefix. */
  value(name: string): number {
    return this.series.get(`midstream_${name}`) ?? 0;
  }
}

const LOOK_MS = 20;
const PATIENCE_MS = 15_000;

/** Reads until the page is as expected; what it said last where it never is. */
export async function metricsWhen(
  url: string,
  isSo: (page: MetricsPage) => boolean,
  what: string,
): Promise<MetricsPage> {
  for (const until = performance.now() + PATIENCE_MS; ; ) {
    const page = await MetricsPage.read(url);
    if (isSo(page)) return page;
    if (performance.now() > until) throw new Error(`${what} did not come to pass:\n${ours(page.text)}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

const ours = (text: string): string =>
  text
    .split('\n')
    .filter((line) => line.startsWith('midstream_') && !line.includes('_bucket'))
    .join('\n');
