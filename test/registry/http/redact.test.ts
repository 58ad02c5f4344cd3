import assert from 'node:assert/strict';
import { it } from 'node:test';
import { redactHeaders, redactUrl, Secrets } from '../../../src/registry/http/redact.js';

it('hides the parts of an address that may be secret', () => {
  const url = new URL(
    'https://u:p4ss@cdn.test:8443/blobs/x?X-Amz-Signature=5ec2e7&digest=sha256:ab&_state=5ec2e7&mount=a/b&n=10',
  );
  assert.equal(
    redactUrl(url),
    'https://cdn.test:8443/blobs/x?X-Amz-Signature=***&digest=sha256:ab&_state=***&mount=a/b&n=10',
  );
});

it('shows only headers that are known not to be secret', () => {
  const shown = redactHeaders(
    {
      authorization: 'Bearer 5ec2e7',
      'proxy-authorization': 'Basic 5ec2e7',
      cookie: '5ec2e7',
      'set-cookie': ['5ec2e7'],
      'x-amz-security-token': '5ec2e7',
      location: '/v2/a/blobs/uploads/1?_state=5ec2e7',
      link: '</v2/a/tags/list?last=b&n=2&sig=5ec2e7>; rel="next"',
      'docker-content-digest': 'sha256:ab',
    },
    new URL('http://r.test/'),
  );
  assert.deepEqual(shown, {
    authorization: 'Bearer ***',
    'proxy-authorization': 'Basic ***',
    location: 'http://r.test/v2/a/blobs/uploads/1?_state=***',
    link: '<http://r.test/v2/a/tags/list?last=b&n=2&sig=***>; rel="next"',
    'docker-content-digest': 'sha256:ab',
  });
});

it('hides secrets in every form', () => {
  const secrets = new Secrets();
  secrets.add('p"ss/w rd');
  assert.equal(secrets.scrub('p"ss/w rd p%22ss%2Fw%20rd {"x":"p\\"ss/w rd"}'), '*** *** {"x":"***"}');
});
