//! Who is let in, how long it may take, and what every answer carries.
//!
//! One contract: a handler behind the door has a [`Session`]. Open are `/health` and `/ready`, which say nothing about a patient,
//! the files of the page, and the login. While no users are configured only a client at this machine is answered; a request that a
//! proxy has passed on, or whose `Host` is not this machine (a page that rebinds its name), is not one of this machine.
//!
//! A request that changes something carries the session's word against forged requests, and comes from our own page where it says
//! where it comes from. A client at this machine that is no browser (no `Origin`, no `Sec-Fetch-Site`, no cookie) needs no word.

use crate::shell::station::{Peer, Shared};
use crate::shell::station_api::problem;
use crate::shell::station_session::{Proof, Session, unknown};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use std::time::Duration;

/// From a request to the beginning of its answer; a self-test takes up to ten seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// The same where a file comes with it: 64 MiB over a slow line.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(180);
/// The route of files.
pub(crate) const UPLOAD: &str = "/api/v1/cases/{id}/captures/{name}";

const CSRF: &str = "x-csrf-token";
const FETCH_SITE: &str = "sec-fetch-site";

pub(crate) async fn door(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "none".to_owned(), |m| m.as_str().to_owned());
    let mut response = match admit(&shared, &mut request, &route) {
        Err(refused) => *refused,
        Ok(()) => {
            match tokio::time::timeout(if route == UPLOAD { UPLOAD_TIMEOUT } else { REQUEST_TIMEOUT }, next.run(request)).await {
                Ok(response) => response,
                Err(_) => problem(StatusCode::SERVICE_UNAVAILABLE, "took too long"),
            }
        }
    };
    let class = match response.status().as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    };
    ::metrics::counter!(super::metrics::HTTP_REQUESTS, "route" => route, "status" => class).increment(1);
    dress(response.headers_mut());
    response
}

/// What every answer carries; a handler may have said otherwise about policy and caching.
fn dress(headers: &mut HeaderMap) {
    const ALWAYS: [(HeaderName, &str); 6] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
    ];
    const UNLESS_SAID: [(HeaderName, &str); 2] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in UNLESS_SAID {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Puts the session into the request, or says why there is no way in.
fn admit(shared: &Shared, request: &mut Request, route: &str) -> Result<(), Box<Response>> {
    let refuse = |status, detail: &str| Err(Box::new(problem(status, detail)));
    if matches!(route, "/health" | "/ready") {
        return Ok(());
    }
    let headers = request.headers();
    let peer = request.extensions().get::<Peer>().copied();
    let local = peer.is_some_and(|Peer(peer)| peer.ip().to_canonical().is_loopback()) && is_direct(headers);
    if !local && !shared.sessions.guarded() {
        return refuse(StatusCode::FORBIDDEN, "only clients on this machine are answered until users with roles are configured");
    }
    let method = request.method();
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let login = route == "/api/v1/session";
    // The tunnel is a GET that can do something.
    if (!reads || route == "/mqtt") && !is_own(headers) {
        return refuse(StatusCode::FORBIDDEN, "the request comes from another origin");
    }
    let session = shared.sessions.identify(headers, local);
    let Some(session) = session else {
        let open = login || (reads && matches!(route, "/" | "/{file}")) || (route == "/metrics" && local);
        return if open { Ok(()) } else { Err(Box::new(unknown())) };
    };
    if !session.request() {
        let mut response = problem(StatusCode::TOO_MANY_REQUESTS, "too many requests in a short time");
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        return Err(Box::new(response));
    }
    let logs_in = login && *method == Method::POST;
    if !reads && !logs_in && needs_word(&session, headers) {
        let word = headers.get(CSRF).map_or(&b""[..], HeaderValue::as_bytes);
        if !session.knows(word) {
            return refuse(StatusCode::FORBIDDEN, "X-CSRF-Token is not the one of this session");
        }
    }
    request.extensions_mut().insert(session);
    Ok(())
}

/// Whether a request could have been made by a page without its user's will.
fn needs_word(session: &Session, headers: &HeaderMap) -> bool {
    match session.proof() {
        // No browser sends a token by itself.
        Proof::Bearer => false,
        Proof::Cookie => true,
        Proof::Local => {
            headers.contains_key(header::ORIGIN) || headers.contains_key(FETCH_SITE) || headers.contains_key(header::COOKIE)
        }
    }
}

/// Whether a request that says where it comes from comes from our own page. A proxy in front may speak TLS where we do not: host and
/// port are compared.
fn is_own(headers: &HeaderMap) -> bool {
    if headers.get(FETCH_SITE).is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none")) {
        return false;
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return true };
    if origins.next().is_some() {
        return false;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let Ok(origin) = origin.to_str() else { return false };
    let (authority, port) = match (origin.strip_prefix("http://"), origin.strip_prefix("https://")) {
        (Some(authority), _) => (authority, ":80"),
        (_, Some(authority)) => (authority, ":443"),
        // `null` among them.
        _ => return false,
    };
    let bare = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    !host.is_empty() && bare(authority) == bare(host)
}

/// Whether a request came straight from a client on this machine.
pub(crate) fn is_direct(headers: &HeaderMap) -> bool {
    if ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name)) {
        return false;
    }
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return true };
    let name = match host.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in list {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn a_request_through_a_proxy_or_a_rebound_name_is_not_local() {
        assert!(is_direct(&headers(&[("host", "localhost:8080")])));
        assert!(is_direct(&headers(&[("host", "127.0.0.1:8080")])));
        assert!(is_direct(&headers(&[("host", "[::1]:8080")])));
        assert!(!is_direct(&headers(&[("host", "evil.example:8080")])));
        assert!(!is_direct(&headers(&[("host", "localhost"), ("x-forwarded-for", "10.0.0.9")])));
    }

    #[test]
    fn only_our_own_origin_is_our_own() {
        let own = |list: &[(&'static str, &'static str)]| is_own(&headers(list));
        assert!(own(&[("host", "icu.example:8443")]), "no browser");
        assert!(own(&[("host", "icu.example:8443"), ("origin", "https://icu.example:8443")]));
        assert!(own(&[("host", "ICU.example"), ("origin", "https://icu.example:443")]));
        assert!(own(&[("host", "icu.example:80"), ("origin", "http://icu.example"), ("sec-fetch-site", "same-origin")]));
        for wrong in
            ["https://evil.example", "null", "https://icu.example", "https://icu.example:8443.evil.example", "file://", ""]
        {
            assert!(!own(&[("host", "icu.example:8443"), ("origin", wrong)]), "{wrong}");
        }
        assert!(!own(&[("host", "a"), ("origin", "http://a"), ("origin", "http://b")]));
        assert!(!own(&[("host", "a"), ("sec-fetch-site", "cross-site")]));
        assert!(!own(&[("host", ""), ("origin", "http://")]));
    }
}
