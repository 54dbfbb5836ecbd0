// The page's single keys, where no field has the focus; a person can switch them off.

import { hashOf, ui, type Page } from './ui.svelte';

const PAGES: Page[] = ['ward', 'alerts', 'cases', 'devices', 'feeds', 'replay', 'about'];

function inField(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName));
}

export function onKey(event: KeyboardEvent): void {
  if (!ui.keys || event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented || inField(event.target)) return;
  if (document.querySelector('dialog[open]')) return;
  if (event.key === '?') {
    ui.help = true;
  } else if (event.key === '/') {
    const field = document.querySelector<HTMLElement>('[data-filter]');
    if (!field) return;
    field.focus();
  } else if (/^[1-7]$/.test(event.key) && !ui.kiosk) {
    const page = PAGES[Number(event.key) - 1];
    if (page) ui.go(hashOf(page));
  } else return;
  event.preventDefault();
}
