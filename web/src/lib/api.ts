// The HTTP interface: one door, with the token against forged requests and a time limit.

export interface Session {
  user: string;
  role: 'viewer' | 'nurse' | 'engineer';
  csrf: string;
  auth: 'local' | 'password';
  expires?: string;
  site: string;
  root: string;
  language: string;
  build: string;
  version: string;
  names: boolean;
  phone?: string;
  labels?: Record<string, string>;
  tolerances: Record<string, number>;
  wards: { ward: string; beds: string[] }[];
  mqtt: boolean;
  /** Cases are told with the other documents; else the list is asked for. */
  case_events: boolean;
}

export class HttpError extends Error {
  constructor(
    /** 0: no answer. */
    readonly status: number,
    readonly problem: Record<string, unknown>,
    readonly retryAfterS?: number,
  ) {
    super(`HTTP ${status}`);
  }

  /** The service's own words, in English. */
  get detail(): string {
    return typeof this.problem.detail === 'string' ? this.problem.detail : '';
  }
}

const TIMEOUT_MS = 10_000;
let csrf = '';
let unauthorized: (problem: Record<string, unknown>) => void = () => {};
let renewed: (session: Session) => void = () => {};

export function setCsrf(token: string): void {
  csrf = token;
}

/** Called when the service no longer knows who we are. */
export function onUnauthorized(run: (problem: Record<string, unknown>) => void): void {
  unauthorized = run;
}

/** Called with the session when the service has begun anew and gives another token. */
export function onRenewed(run: (session: Session) => void): void {
  renewed = run;
}

/** Asks who we are now; true where the token is another one. */
export async function renew(): Promise<boolean> {
  const before = csrf;
  try {
    const session = await call<Session>('GET', '/api/v1/session');
    if (session.csrf === before) return false;
    csrf = session.csrf;
    renewed(session);
    return true;
  } catch (error) {
    if (error instanceof HttpError && error.status === 401) unauthorized(error.problem);
    return false;
  }
}

export async function call<T>(method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, body?: unknown, timeoutMs = TIMEOUT_MS): Promise<T> {
  const sent = csrf;
  const headers: Record<string, string> = { Accept: 'application/json' };
  if (method !== 'GET') headers['X-CSRF-Token'] = csrf;
  const file = body instanceof Blob;
  if (body !== undefined) headers['Content-Type'] = file ? 'application/octet-stream' : 'application/json';
  let response: Response;
  try {
    response = await fetch(path, {
      method, headers, body: body === undefined ? undefined : file ? body : JSON.stringify(body), credentials: 'same-origin', cache: 'no-store',
      signal: AbortSignal.timeout(timeoutMs),
    });
  } catch {
    throw new HttpError(0, {});
  }
  if (response.status === 204) return undefined as T;
  let json: unknown;
  try {
    json = await response.json();
  } catch {
    json = undefined;
  }
  if (!response.ok) {
    const problem = (typeof json === 'object' && json !== null ? json : {}) as Record<string, unknown>;
    // A service that was restarted knows the person, but not the old token: once more with the new one.
    if (response.status === 403 && method !== 'GET' && path !== '/api/v1/session' && (sent !== csrf || (await renew()))) return call(method, path, body, timeoutMs);
    if (response.status === 401 && path !== '/api/v1/session') unauthorized(problem);
    throw new HttpError(response.status, problem, Number(response.headers.get('Retry-After')) || undefined);
  }
  if (json === undefined) throw new HttpError(response.status, {});
  return json as T;
}

export const get = <T>(path: string): Promise<T> => call<T>('GET', path);

/** A query string without absent members. */
export function query(members: Record<string, string | number | undefined>): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(members)) if (value !== undefined && value !== '') search.set(key, String(value));
  const text = search.toString();
  return text ? `?${text}` : '';
}

/** A slug that no other request has; works without a secure context. */
export function requestId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  return `w-${Date.now().toString(36)}-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}
