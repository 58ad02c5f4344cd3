import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { chromium, type Browser, type Page } from 'playwright-core';
import { writeBundle, type Cargo } from '../bundle/write-bundle.js';
import { airlift } from '../support/airlift.js';
import { needs, peerPath } from '../support/peers.js';
import { temp } from '../support/temp.js';
import { manyProducts, product } from './cargo.js';

const evil = '<img src=x onerror="document.title=1"><script>document.title=2</script>\u202e\u200b"\'&';

// Background services of the browser would use the network.
const browserArgs = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

describe('the page of a report in a browser', { skip: needs('chromium') }, () => {
  const dir = temp({ after });
  let browser: Browser;
  before(async () => {
    browser = await chromium.launch({ executablePath: peerPath('chromium'), args: browserArgs });
  });
  after(() => browser.close());

  /** Opens the report on a bundle; fails if the page makes a request or the browser reports an error. */
  async function open(name: string, cargo: readonly Cargo[], ...flags: string[]): Promise<Page> {
    const bundle = join(dir, `${name}.tar`);
    await writeBundle(bundle, cargo);
    return openReport(bundle, ...flags);
  }

  async function openReport(file: string, ...flags: string[]): Promise<Page> {
    const output = `${file}.html`;
    await airlift(['report', file, '-o', output, ...flags]);
    const page = await browser.newPage();
    const url = pathToFileURL(output).href;
    page.on('request', (request) => assert.equal(request.url(), url));
    page.on('console', (message) => assert.fail(message.text()));
    page.on('pageerror', (error) => assert.fail(error));
    await page.goto(url);
    return page;
  }

  test('shows images and packages, filters them from the keyboard, and makes no request', async () => {
    const page = await open('small', manyProducts(12));
    assert.equal(await page.title(), 'small.tar: contents');
    assert.match(await page.locator('.state').innerText(), /Verified/);
    assert.equal(await page.locator('#images > tbody > tr').count(), 12);
    assert.equal(await page.locator('#packages > tbody > tr').count(), 97 - 1);
    assert.equal(await page.locator('svg rect').count(), 13);
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate('document.activeElement.textContent'), 'Skip to the images');
    await page.getByLabel('Show images that contain').focus();
    await page.keyboard.type('product-1');
    assert.equal(await page.locator('#images-status').innerText(), '3 of 12 shown');
    assert.equal(await page.locator('#images > tbody > tr:visible').count(), 3);
    const image = page.locator('#images summary:visible').first();
    await image.focus();
    await page.keyboard.press('Enter');
    assert.match(
      await page.locator('#images details[open]').innerText(),
      /org\.opencontainers\.image\.source/,
    );
    await page.close();
  });

  test('tells a screen reader the structure: headings, table headers, labels', async () => {
    const page = await open('reader', manyProducts(3));
    const tree = await page.locator('main').ariaSnapshot();
    assert.match(tree, /heading "reader\.tar" \[level=1\]/);
    assert.match(tree, /region "Table of images"/);
    assert.match(tree, /columnheader "Platforms"/);
    assert.match(tree, /rowheader/);
    assert.match(tree, /img "Where the bytes are/);
    assert.match(tree, /searchbox "Show images that contain"/);
    await page.close();
  });

  test('shows hostile labels as text', async () => {
    const image = product({ name: 'evil', version: evil, labels: { [evil]: evil } });
    const page = await open('evil', [{ reference: 'registry.example/acme/evil:1', image }]);
    assert.equal(await page.title(), 'evil.tar: contents');
    assert.equal(await page.locator('img, script:not(body > script)').count(), 0);
    const cell = await page.locator('#images > tbody > tr > td').nth(3).innerText();
    assert.equal(cell, evil.replace('\u202e', '\\u202e').replace('\u200b', '\\u200b'));
    await page.close();
  });

  test('shows what is new since a base, and links to the sections', async () => {
    const old = join(dir, 'may.tar');
    await writeBundle(old, manyProducts(3));
    const page = await open('june', manyProducts(5), '--base', old);
    assert.equal(await page.locator('#changes > tbody > tr').count(), 2);
    assert.match(await page.locator('#changes').innerText(), /product-4:1\.4\s+added/);
    assert.equal(await page.locator('#images strong').count(), 2);
    for (const link of await page.getByRole('navigation', { name: 'Sections' }).getByRole('link').all()) {
      const target = (await link.getAttribute('href')) ?? assert.fail();
      assert.equal(await page.locator(target).count(), 1, target);
    }
    await page.getByLabel('Show changes that contain').fill('product-3');
    assert.equal(await page.locator('#changes-status').innerText(), '1 of 2 shown');
    await page.close();
  });

  test('shows a receipt, and no page is wider than a narrow window or the paper', async () => {
    const receipt = join(dir, 'site.receipt');
    const lines = Array.from({ length: 30 }, (_, at) => `acme/app-${at}:1 sha256:${'a'.repeat(64)} index`);
    const head = [
      'airlift receipt 1',
      'registry: site.example',
      'time: 2026-03-04T05:06:07Z',
      'airlift: 0.1.0',
      '',
    ];
    writeFileSync(receipt, [...head, ...lines.sort(), ''].join('\n'));
    const page = await openReport(receipt);
    assert.equal(await page.title(), 'site.receipt: contents');
    assert.equal(await page.locator('#contents > tbody > tr').count(), 30);
    await page.getByLabel('Show rows that contain').fill('app-29');
    assert.equal(await page.locator('#contents-status').innerText(), '1 of 30 shown');
    const wide = await open('wide', manyProducts(3), '--base', receipt);
    for (const one of [page, wide])
      for (const [width, media] of [
        [420, 'screen'],
        [700, 'print'],
      ] as const) {
        await one.setViewportSize({ width, height: 900 });
        await one.emulateMedia({ media });
        assert.ok(Number(await one.evaluate('document.documentElement.scrollWidth')) <= width, media);
      }
    await page.close();
    await wide.close();
  });

  test('2,000 images: every image is in the table, and the drawing stays small', async () => {
    const page = await open('large', manyProducts(2000));
    assert.equal(await page.locator('#images > tbody > tr').count(), 2000);
    assert.ok((await page.locator('svg rect').count()) <= 125);
    await page.getByLabel('Show images that contain').fill('product-1999');
    assert.equal(await page.locator('#images-status').innerText(), '1 of 2000 shown');
    await page.close();
  });
});
