// Language, colours, place in the page: what belongs to this browser. Nothing about a patient is ever stored.

import { en, type Strings } from '../lang/en';
import { it } from '../lang/it';
import type { Lang, Text } from './documents';

export type Theme = 'auto' | 'dark' | 'light';
export type Page = 'ward' | 'bed' | 'alerts' | 'cases' | 'devices' | 'feeds' | 'replay' | 'about';
const PAGES: readonly string[] = ['ward', 'bed', 'alerts', 'cases', 'devices', 'feeds', 'replay', 'about'];

export interface Route {
  page: Page;
  ward?: string;
  bed?: string;
  query: URLSearchParams;
}

function stored(key: string): string | null {
  try {
    return localStorage.getItem(`vitalguard.${key}`);
  } catch {
    return null;
  }
}

function store(key: string, value: string): void {
  try {
    localStorage.setItem(`vitalguard.${key}`, value);
  } catch {
    // A browser without storage forgets it at the next load.
  }
}

export function parseHash(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?');
  const parts = path.split('/').map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return '';
    }
  });
  const page = (PAGES.includes(parts[0] ?? '') ? parts[0] : 'ward') as Page;
  const ward = parts[1] || undefined;
  const bed = page === 'bed' ? parts[2] || undefined : undefined;
  return { page: page === 'bed' && !bed ? 'ward' : page, ward, bed, query: new URLSearchParams(query) };
}

export function hashOf(page: Page, parts: string[] = [], query?: URLSearchParams): string {
  const text = query?.toString() ?? '';
  return `#/${[page, ...parts.map(encodeURIComponent)].join('/')}${text ? `?${text}` : ''}`;
}

class Ui {
  lang = $state<Lang>((stored('lang') as Lang | null) ?? (navigator.language.startsWith('it') ? 'it' : 'en'));
  theme = $state<Theme>((stored('theme') as Theme | null) ?? 'auto');
  keys = $state(stored('keys') !== 'off');
  shift = $state(stored('shift') === 'on');
  route = $state.raw<Route>(parseHash(location.hash));
  /** For the polite live region and the eye. */
  message = $state('');
  messageTone = $state<'ok' | 'bad'>('ok');
  help = $state(false);
  private timer: ReturnType<typeof setTimeout> | undefined;

  readonly t: Strings = $derived(this.lang === 'it' ? it : en);
  readonly kiosk = $derived(this.route.query.get('kiosk') === '1');
  readonly dark = $derived(this.theme === 'dark' || (this.theme === 'auto' && (this.route.page === 'ward' || this.route.page === 'bed' || this.kiosk)));

  private readonly formats = $derived({
    whole: new Intl.NumberFormat(this.t.locale, { maximumFractionDigits: 1, useGrouping: false }),
    tenth: new Intl.NumberFormat(this.t.locale, { minimumFractionDigits: 1, maximumFractionDigits: 1, useGrouping: false }),
    plain: new Intl.NumberFormat(this.t.locale, { maximumFractionDigits: 2, signDisplay: 'negative' }),
    time: new Intl.DateTimeFormat(this.t.locale, { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false }),
    minute: new Intl.DateTimeFormat(this.t.locale, { hour: '2-digit', minute: '2-digit', hour12: false }),
    day: new Intl.DateTimeFormat(this.t.locale, { day: '2-digit', month: 'short', hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false }),
  });

  constructor() {
    addEventListener('hashchange', () => (this.route = parseHash(location.hash)));
  }

  /** The language of the service, unless this browser has its own. */
  suggest(lang: string | undefined): void {
    if (stored('lang') === null && (lang === 'en' || lang === 'it')) this.lang = lang;
  }

  setLang(lang: Lang): void {
    this.lang = lang;
    store('lang', lang);
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    store('theme', theme);
  }

  setKeys(on: boolean): void {
    this.keys = on;
    store('keys', on ? 'on' : 'off');
  }

  setShift(on: boolean): void {
    this.shift = on;
    store('shift', on ? 'on' : 'off');
  }

  go(hash: string): void {
    if (this.kiosk && !hash.includes('kiosk=1')) hash += hash.includes('?') ? '&kiosk=1' : '?kiosk=1';
    location.hash = hash;
  }

  /** Changes members of the query without leaving the page. */
  query(change: Record<string, string | null>): void {
    const query = new URLSearchParams(this.route.query);
    for (const [key, value] of Object.entries(change)) {
      if (value === null || value === '') query.delete(key);
      else query.set(key, value);
    }
    const { page, ward, bed } = this.route;
    history.replaceState(null, '', hashOf(page, [ward, bed].filter((part) => part !== undefined), query));
    this.route = parseHash(location.hash);
  }

  say(message: string, tone: 'ok' | 'bad' = 'ok'): void {
    clearTimeout(this.timer);
    this.message = message;
    this.messageTone = tone;
    this.timer = setTimeout(() => (this.message = ''), 6_000);
  }

  pick(text: Text | undefined): string {
    return text?.[this.lang] ?? text?.en ?? '';
  }

  value = (value: number, key: string): string => (key.startsWith('temp') ? this.formats.tenth : this.formats.whole).format(value);

  num(value: number | null | undefined): string {
    return value === null || value === undefined ? '–' : this.formats.plain.format(value);
  }

  time(at: number | string | undefined): string {
    const ms = typeof at === 'string' ? Date.parse(at) : at;
    return ms === undefined || Number.isNaN(ms) ? '–' : this.formats.time.format(ms);
  }

  minute(at: number): string {
    return this.formats.minute.format(at);
  }

  /** With the day where it is not today. */
  when(at: number | string | undefined): string {
    const ms = typeof at === 'string' ? Date.parse(at) : at;
    if (ms === undefined || Number.isNaN(ms)) return '–';
    return new Date(ms).toDateString() === new Date().toDateString() ? this.formats.time.format(ms) : this.formats.day.format(ms);
  }

  /** A span in words. */
  span(ms: number): string {
    const s = Math.max(0, Math.floor(ms / 1_000));
    const { age } = this.t;
    if (s < 60) return age.s(s);
    if (s < 3_600) return age.m(Math.floor(s / 60), s % 60);
    if (s < 86_400) return age.h(Math.floor(s / 3_600), Math.floor((s % 3_600) / 60));
    return age.d(Math.floor(s / 86_400), Math.floor((s % 86_400) / 3_600));
  }

  /** `00:41`, `1:02:07`. */
  clockSpan(ms: number): string {
    const s = Math.max(0, Math.floor(ms / 1_000));
    const two = (n: number): string => String(n).padStart(2, '0');
    return s < 3_600 ? `${two(Math.floor(s / 60))}:${two(s % 60)}` : `${Math.floor(s / 3_600)}:${two(Math.floor((s % 3_600) / 60))}:${two(s % 60)}`;
  }
}

export const ui = new Ui();
