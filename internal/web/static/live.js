// Keeps the page fresh. The server tells by server-sent events that something changed; the same URL is
// then fetched again and what differs is put in, so that focus, scrolling and what is unfolded stay.
// Without this script the page is complete, and has a link to reload it.
(function () {
  'use strict';
  const settle = 250;        // events come in bursts
  const atLeast = 1000;      // between two readings
  const nowAndThen = 15000; // times and heartbeats grow old without any event

  document.documentElement.classList.add('js');
  const pulse = document.getElementById('pulse');
  const say = function (kind, text) {
    pulse.className = 'pulse ' + kind;
    const at = pulse.querySelector('.pulse-text');
    if (at.textContent !== text) at.textContent = text;
  };

  // morph makes old like fresh and keeps the elements that are alike.
  function morph(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || (old.id || '') !== (fresh.id || '')) {
      old.replaceWith(document.importNode(fresh, true));
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    if (old === document.activeElement && /^(INPUT|SELECT|TEXTAREA)$/.test(old.nodeName)) return;
    for (const a of Array.from(old.attributes)) {
      if (!fresh.hasAttribute(a.name) && !(old.nodeName === 'DETAILS' && a.name === 'open')) old.removeAttribute(a.name);
    }
    for (const a of fresh.attributes) {
      if (old.getAttribute(a.name) !== a.value) old.setAttribute(a.name, a.value);
    }
    const named = new Map();
    for (const c of old.children) if (c.id) named.set(c.id, c);
    let at = old.firstChild;
    for (const f of Array.from(fresh.childNodes)) {
      const known = f.id && named.get(f.id);
      if (known && known !== at) old.insertBefore(known, at);
      const here = known || (at && !(at.id && at.id !== f.id) ? at : null);
      if (!here) {
        old.insertBefore(document.importNode(f, true), at);
        continue;
      }
      at = here.nextSibling;
      morph(here, f);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  let reading = false, again = false, timer = 0, last = 0;
  async function read() {
    timer = 0;
    if (reading) { again = true; return; }
    reading = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: 'text/html' }, cache: 'no-store' });
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      const main = page.getElementById('main');
      if (main) {
        morph(document.getElementById('main'), main);
        document.title = page.title;
        document.documentElement.classList.remove('stale');
      }
    } catch (e) {
      document.documentElement.classList.add('stale'); // the pulse says what is wrong
    }
    reading = false;
    last = Date.now();
    if (again) { again = false; want(); }
  }
  function want() {
    if (timer || document.hidden) return;
    timer = setTimeout(read, Math.max(settle, last + atLeast - Date.now()));
  }
  setInterval(want, nowAndThen);
  document.addEventListener('visibilitychange', function () { if (!document.hidden) want(); });

  const where = document.body.dataset.live;
  let source = null;
  function listen() {
    source = new EventSource(where);
    source.onopen = function () { say('on', 'Live'); };
    source.addEventListener('changed', want);
    source.onerror = function () {
      if (source.readyState === EventSource.CLOSED) {
        say('slow', 'Every 15 s');
        setTimeout(listen, nowAndThen);
      } else {
        say('off', 'Reconnecting');
      }
    };
  }
  if (where && window.EventSource) listen(); else say('slow', 'Every 15 s');
  window.addEventListener('pagehide', function () { if (source) source.close(); });
  window.addEventListener('pageshow', function (e) { if (e.persisted && where) { listen(); want(); } });

  document.addEventListener('click', async function (e) {
    const b = e.target.closest && e.target.closest('button.copy');
    if (!b) return;
    const label = b.querySelector('span');
    try {
      await navigator.clipboard.writeText(b.dataset.copy);
      label.textContent = 'Copied';
    } catch (err) {
      const r = document.createRange();
      r.selectNodeContents(b.parentNode.querySelector('code'));
      const s = window.getSelection();
      s.removeAllRanges();
      s.addRange(r);
      label.textContent = 'Selected';
    }
    setTimeout(function () { label.textContent = 'Copy'; }, 1500);
  });
})();
