import assert from 'node:assert/strict';
import { it } from 'node:test';
import { parseK3sRegistries } from '../../../src/registry/config/k3s-registries.js';

it('reads mirrors, rewrites and configs', () => {
  const { mirrors, hosts } = parseK3sRegistries(
    {
      mirrors: {
        'docker.io': {
          endpoint: ['https://registry.corp:5000', 'http://10.0.0.1:5000/v2/hub'],
          rewrite: { '^rancher/(.*)': 'mirrored/$1' },
        },
        '*': { endpoint: ['plain.corp'] },
        'empty.test': null,
      },
      configs: {
        'registry.corp:5000': {
          auth: { username: 'u', password: 'p' },
          tls: { cert_file: '/c', key_file: '/k', ca_file: '/a', insecure_skip_verify: true },
        },
        'b.test': { auth: { auth: 'dTpwOnE=' } },
        'c.test': { auth: { identity_token: 't' } },
      },
    },
    'registries.yaml',
  );
  const rewrites = [{ from: '^rancher/(.*)', to: 'mirrored/$1' }];
  assert.deepEqual(
    mirrors.map(({ prefix, mirrors: list }) => [prefix, list]),
    [
      [
        'docker.io',
        [
          { location: 'registry.corp:5000', scheme: 'https', apiPath: '/v2', rewrites },
          { location: '10.0.0.1:5000', scheme: 'http', apiPath: '/v2/hub', rewrites },
        ],
      ],
      ['*', [{ location: 'plain.corp', scheme: 'https', apiPath: '/v2', rewrites: [] }]],
      ['empty.test', []],
    ],
  );
  assert.deepEqual(hosts['registry.corp:5000'], {
    caFile: '/a',
    certFile: '/c',
    keyFile: '/k',
    insecureSkipTlsVerify: true,
    credentials: { username: 'u', password: 'p', registry: 'registry.corp:5000' },
    identityToken: undefined,
  });
  assert.equal(hosts['b.test']?.credentials?.password, 'p:q');
  assert.equal(hosts['c.test']?.identityToken, 't');
  assert.deepEqual(parseK3sRegistries(null, 'x'), { mirrors: [], hosts: {} });
});

it('reports malformed settings', () => {
  for (const data of [
    'text',
    { mirrors: [] },
    { mirrors: { a: 'x' } },
    { mirrors: { 'a.test': { endpoint: 'x' } } },
    { mirrors: { 'a.test': { endpoint: [5] } } },
    { mirrors: { 'a.test': { endpoint: ['ftp://x'] } } },
    { mirrors: { 'a.test': { rewrite: { '(': 'x' } } } },
    { configs: { 'a.test': { auth: { auth: 'eA==' } } } },
    { configs: { 'a.test': { auth: { username: 5 } } } },
  ])
    assert.throws(() => parseK3sRegistries(data, 'registries.yaml'), {
      code: 'input',
      message: /registries\.yaml/,
    });
});
