/** The page at `/`, driven as a person would: by keyboard, by its labels, in a real browser against the whole server. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { config, createPageTools, LONG_ANSWER, script } from './script.js';
import { launchBrowser, startPageServer } from './support.js';

let browser: Browser;
let server: Awaited<ReturnType<typeof startPageServer>>;
let page: Page;
let problems: string[];
const { tools, sent, release } = createPageTools();

beforeAll(async () => {
  [browser, server] = await Promise.all([launchBrowser(), startPageServer({ script, config, tools })]);
}, 60_000);

afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

beforeEach(async () => {
  page = await browser.newPage({ reducedMotion: 'reduce' });
  page.setDefaultTimeout(10_000);
  problems = [];
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') problems.push(message.text());
  });
  await page.goto(server.url);
  await page.locator('#connection[data-state=ready]').waitFor();
  await page.waitForURL(/#sesn_/);
});

afterEach(async () => {
  await page.close();
  // Nothing was refused by the content policy, and nothing threw.
  expect(problems).toEqual([]);
});

async function ask(text: string): Promise<void> {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.keyboard.press('Enter');
}

const answer = () => page.locator('.assistant .text').last();
const end = () => page.locator('.end');

/** Pictures of the states, for people, where `SCREENSHOTS` names a folder. */
async function picture(name: string): Promise<void> {
  const folder = process.env['SCREENSHOTS'];
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width: 1200, height: 800 });
    await page.screenshot({ path: join(folder, `${name}-${colorScheme}.png`) });
  }
  await page.setViewportSize({ width: 380, height: 780 });
  await page.screenshot({ path: join(folder, `${name}-narrow.png`) });
  await page.setViewportSize({ width: 1200, height: 800 });
  await page.emulateMedia({ colorScheme: 'light' });
}

it('streams an answer with its thinking folded and its code in a block', async () => {
  await picture('empty');
  await ask('think about it');
  await end().waitFor();
  expect(await page.locator('.assistant pre').textContent()).toBe('const rope = "long";');
  expect(await page.locator('.thinking .text').isVisible()).toBe(false);
  await page.getByText('Thought about it').click();
  expect(await page.locator('.thinking .text').textContent()).toBe('A ferry needs a rope.');
  expect(await page.locator('#usage').textContent()).toMatch(/\d+ in · \d+ out/);
  expect(await page.locator('#announcer').textContent()).toContain('Answer: Use a rope');
  await picture('answer');
});

it('[CAN-3] stops by Escape, and keeps what was said', async () => {
  await ask('a long answer');
  await answer().filter({ hasText: 'Sentence 3' }).waitFor();
  await picture('streaming');
  await page.keyboard.press('Escape');
  await end().filter({ hasText: 'Stopped' }).waitFor();
  const said = (await answer().textContent()) ?? '';
  expect(said.length).toBeGreaterThan(20);
  expect(LONG_ANSWER.startsWith(said.trim())).toBe(true);
  expect(await page.locator('.assistant').last().getAttribute('data-status')).toBe('incomplete');
  await page.getByRole('button', { name: 'Send' }).waitFor();
});

it('[LOG-4] resumes after a dropped connection with nothing lost, and after a reload', async () => {
  await ask('a long answer');
  await answer().filter({ hasText: 'Sentence 2' }).waitFor();
  await page.getByRole('button', { name: 'Drop connection' }).click();
  await page.locator('#connection[data-state=waiting]').waitFor();
  const notice = page.getByRole('status');
  await notice.filter({ hasText: /resumed at seq \d+: \d+ events caught up, 0 lost/ }).waitFor();
  await picture('resumed');
  await page.reload();
  await answer().filter({ hasText: 'Sentence 12' }).waitFor();
  await page.getByRole('button', { name: 'Stop' }).click();
  await end().filter({ hasText: 'Stopped' }).waitFor();
  const said = ((await answer().textContent()) ?? '').trim();
  expect(LONG_ANSWER.startsWith(said)).toBe(true);
});

it('[TURN-2] shows what is queued with its position, and takes it out again', async () => {
  await ask('in steps');
  await page.locator('.tool[data-status=running]').waitFor();
  await page.getByLabel('How the message joins the running turn').selectOption('queue');
  await ask('afterwards');
  await ask('and then');
  await page.locator('#queue-items li').nth(1).waitFor();
  expect(await page.locator('#queue-items .place').allTextContents()).toEqual(['1', '2']);
  await page.getByRole('button', { name: 'Remove “afterwards” from the queue' }).click();
  await page.locator('#queue-items li').nth(1).waitFor({ state: 'detached' });
  expect(await page.locator('#queue-items .said').allTextContents()).toEqual(['and then']);
  release();
  await answer().filter({ hasText: 'As you like.' }).waitFor();
  expect(await page.locator('#queue').isVisible()).toBe(false);
});

it('steers a running turn at its next step', async () => {
  await ask('in steps');
  const tool = page.locator('.tool');
  await tool.filter({ hasText: 'Searching the archive' }).waitFor();
  await tool.filter({ hasText: 'Half of the shelves' }).waitFor();
  await ask('only ferries with sails');
  await page.locator('#queue-items li').filter({ hasText: 'only ferries with sails' }).waitFor();
  await picture('steering');
  release();
  await end().waitFor();
  expect(await page.locator('.user[data-steer=true]').textContent()).toContain('only ferries with sails');
  expect(await tool.getAttribute('data-outcome')).toBe('ok');
});

it('[TOOL-5] runs the page’s own tool: the model edits the note', async () => {
  await ask('write a note');
  await answer().filter({ hasText: 'It is in the note.' }).waitFor();
  expect(await page.getByRole('textbox', { name: 'Note' }).inputValue()).toBe('Buy rope.');
  await page.locator('.tool summary', { hasText: 'Result' }).click();
  await page.locator('.tool pre').filter({ hasText: 'The note now reads' }).waitFor();
  await picture('note');
});

it('[TOOL-3] asks before it sends, runs with the edited input, and tells the model when it is denied', async () => {
  sent.length = 0;
  await ask('send it');
  const input = page.getByLabel('Input, as it will run');
  await input.waitFor();
  await picture('approval');
  await input.fill('{ not json');
  await page.getByRole('button', { name: 'Approve' }).click();
  await page.getByRole('alert').filter({ hasText: 'not valid JSON' }).waitFor();
  await input.fill('{ "to": "ann@example.com", "subject": "Rope" }');
  await page.getByRole('button', { name: 'Approve' }).click();
  await answer().filter({ hasText: 'on its way' }).waitFor();
  expect(sent).toEqual([{ to: 'ann@example.com', subject: 'Rope' }]);

  await ask('send another');
  await page.getByLabel('Reason, if you deny').fill('Not on a Sunday.');
  await page.getByRole('button', { name: 'Deny' }).click();
  await page.locator('.tool').nth(1).filter({ hasText: 'Denied' }).waitFor();
  await end().nth(1).waitFor();
  expect(sent).toHaveLength(1);
});

it('shows what a model says as text, never as markup', async () => {
  await ask('attack');
  await end().waitFor();
  expect(await answer().textContent()).toContain('<img src=x onerror=');
  expect(await answer().locator('img, script').count()).toBe(0);
  expect(await page.evaluate(() => 'attacked' in globalThis)).toBe(false);
});

it('names every control, and shows where the keyboard is', async () => {
  const nameless = await page.evaluate(() =>
    [...document.querySelectorAll<HTMLElement>('button, select, textarea, input')]
      .filter((control) => control.offsetParent !== null)
      .filter((control) => {
        const labels = 'labels' in control ? [...((control as HTMLInputElement).labels ?? [])] : [];
        const named = control.getAttribute('aria-label') ?? control.getAttribute('aria-labelledby');
        return !named && labels.length === 0 && control.textContent?.trim() === '';
      })
      .map((control) => control.id),
  );
  expect(nameless).toEqual([]);
  expect(await page.evaluate(() => document.activeElement?.id)).toBe('prompt');
  for (const id of ['drop', 'new-session']) {
    await page.locator(`#${id}`).focus();
    await page.keyboard.press('Shift');
    const outline = await page.locator(`#${id}`).evaluate((element) => getComputedStyle(element).outlineStyle);
    expect(outline).not.toBe('none');
  }
});

it('says in words why it stopped, where the server refuses it', async () => {
  const other = await browser.newPage();
  await other.goto(`${server.url}/#sesn_of_somebody_else`);
  await other.getByRole('status').filter({ hasText: 'not here any more' }).waitFor();
  await other.waitForURL(/#sesn_(?!of_somebody_else)/);
  await other.close();
});
