//! Pages that print: what every page of ours shares. No script, nothing that is fetched.

/// Text that may stand between tags or in an attribute. Controls and the marks that turn the direction of writing around
/// are shown as U+FFFD: what somebody wrote must not rearrange the words beside it.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// The style of a page that is read and printed.
pub const STYLE: &str = "body{font:11pt/1.4 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#000;background:#fff}\
h1{font-size:16pt}h2{font-size:12pt;margin:1.4em 0 .3em}table{border-collapse:collapse;width:100%}\
th,td{border:1px solid #888;padding:.2em .5em;text-align:left;vertical-align:top;font-size:10pt}th{background:#eee}\
pre{font:9pt/1.4 monospace;white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid #888;padding:.4em}\
mark{background:none;border:2px solid #000;font-weight:bold}.use{border:2px solid #000;padding:.4em;font-weight:bold}\
.hash{font:9pt monospace;overflow-wrap:anywhere}@media print{body{margin:0;max-width:none}h2{break-after:avoid}tr{break-inside:avoid}}";

/// A whole page; `style` comes after [`STYLE`], `body` is HTML.
pub fn page(lang: &str, title: &str, style: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"{lang}\"><head><meta charset=\"utf-8\"><title>{}</title><style>{STYLE}{style}</style></head><body>\n\
         {body}</body></html>\n",
        escape(title)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_stays_text() {
        assert_eq!(escape("<b onclick='x'>\"&\"</b>"), "&lt;b onclick=&#39;x&#39;&gt;&quot;&amp;&quot;&lt;/b&gt;");
        assert_eq!(escape("a\u{202e}b\u{0}c\r\n\u{2066}d"), "a\u{fffd}b\u{fffd}c\u{fffd}\n\u{fffd}d");
        assert!(page("en", "</title><script>", "", "").contains("<title>&lt;/title&gt;&lt;script&gt;</title>"));
    }
}
