//! What a secret looks like. Few rules of high precision: tokens that begin with a mark of their issuer and have its length,
//! private keys with their body, addresses with a password, and passwords written beside their name. What reads as a
//! placeholder is none.
//!
//! The marks and lengths are those that the issuers publish; they are marks made to be found.

use std::ops::Range;

/// A place that looks like a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Match {
    /// The rule's name.
    pub(super) rule: &'static str,
    /// Where, in bytes.
    pub(super) range: Range<usize>,
}

/// A token: a mark, then so many bytes of an alphabet, and no more.
struct Token {
    rule: &'static str,
    mark: &'static str,
    alphabet: fn(u8) -> bool,
    least: usize,
    most: usize,
}

const fn token(
    rule: &'static str,
    mark: &'static str,
    alphabet: fn(u8) -> bool,
    least: usize,
    most: usize,
) -> Token {
    Token {
        rule,
        mark,
        alphabet,
        least,
        most,
    }
}

fn upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn url_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn path(byte: u8) -> bool {
    url_safe(byte) || byte == b'/'
}

fn dotted(byte: u8) -> bool {
    url_safe(byte) || byte == b'.'
}

const TOKENS: [Token; 25] = [
    token("aws-access-key", "AKIA", upper, 16, 16),
    token("aws-access-key", "ASIA", upper, 16, 16),
    token("github-token", "ghp_", alphanumeric, 36, 36),
    token("github-token", "gho_", alphanumeric, 36, 36),
    token("github-token", "ghu_", alphanumeric, 36, 36),
    token("github-token", "ghs_", alphanumeric, 36, 36),
    token("github-token", "ghr_", alphanumeric, 36, 36),
    token("github-token", "github_pat_", url_safe, 82, 82),
    token("gitlab-token", "glpat-", dotted, 20, 300),
    token("google-api-key", "AIza", url_safe, 35, 35),
    token("slack-token", "xoxa-", url_safe, 20, 250),
    token("slack-token", "xoxb-", url_safe, 20, 250),
    token("slack-token", "xoxp-", url_safe, 20, 250),
    token("slack-token", "xoxr-", url_safe, 20, 250),
    token("slack-token", "xoxs-", url_safe, 20, 250),
    token("webhook-address", "hooks.slack.com/services/", path, 30, 120),
    token("webhook-address", "discord.com/api/webhooks/", path, 60, 200),
    token("stripe-key", "sk_live_", alphanumeric, 24, 200),
    token("npm-token", "npm_", alphanumeric, 36, 36),
    token("pypi-token", "pypi-AgEIcHlwaS5vcmc", url_safe, 50, 400),
    token("crates-io-token", "cio", alphanumeric, 32, 32),
    token("hugging-face-token", "hf_", alphanumeric, 34, 40),
    token("age-key", "AGE-SECRET-KEY-1", upper, 58, 58),
    token("nix-signing-key", "cache-priv-key:", base64, 86, 88),
    // A JSON web token: a header and a body, each the Base64 of JSON, and a signature.
    token("json-web-token", "eyJ", dotted, 60, 4096),
];

/// Names of what is secret, in lower case.
const NAMES: [&str; 8] = [
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "access_key",
    "private_key",
];

/// Parts of a value that say it stands for another, in lower case.
const PLACEHOLDERS: [&str; 14] = [
    "changeme",
    "replace",
    "example",
    "placeholder",
    "your",
    "dummy",
    "fake",
    "sample",
    "xxxx",
    "1234567",
    "password",
    "secret",
    "hunter2",
    "redacted",
];

/// Shorter values beside a name are words.
const SHORTEST_VALUE: usize = 12;
/// Bits a byte that a value beside a name has at least: words have less.
const LEAST_BITS: f64 = 3.2;
/// A line that is longer is data.
const LONGEST_LINE: usize = 2000;
const KEY_BEGINS: &[u8] = b"-----BEGIN ";
/// Base64 of a private key's body that is there at least; a heading alone is no key.
const LEAST_KEY_BODY: usize = 40;

/// Everything in `data` that looks like a secret, in order.
pub(super) fn find(data: &[u8]) -> Vec<Match> {
    let mut found = tokens(data);
    found.extend(private_keys(data));
    if !data.iter().take(8192).any(|byte| *byte == 0) {
        for (start, line) in lines(data).filter(|(_, line)| line.len() <= LONGEST_LINE) {
            let beside = address(line)
                .into_iter()
                .chain(assignments(line))
                .map(|Match { rule, range }| Match {
                    rule,
                    range: start + range.start..start + range.end,
                });
            found.extend(beside);
        }
    }
    found.sort_by_key(|found| (found.range.start, found.range.end));
    // A token beside its name is one secret, and the token's rule says more of it.
    let whole = found.clone();
    found.retain(|one| {
        one.rule != ASSIGNED
            || !whole
                .iter()
                .any(|other| other.rule != ASSIGNED && overlap(&one.range, &other.range))
    });
    found
}

fn overlap(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end && other.start < one.end
}

fn lines(data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut start = 0;
    data.split(|byte| *byte == b'\n').map(move |line| {
        let at = start;
        start += line.len() + 1;
        (at, line)
    })
}

fn tokens(data: &[u8]) -> Vec<Match> {
    let mut begins = [false; 256];
    for first in TOKENS.iter().filter_map(|token| token.mark.bytes().next()) {
        begins[usize::from(first)] = true;
    }
    let mut found = Vec::new();
    for (at, _) in data
        .iter()
        .enumerate()
        .filter(|(_, byte)| begins[usize::from(**byte)])
    {
        // Inside a longer word nothing begins.
        if at > 0 && data.get(at - 1).is_some_and(|byte| url_safe(*byte)) {
            continue;
        }
        let rest = data.get(at..).unwrap_or_default();
        found.extend(
            TOKENS
                .iter()
                .find_map(|token| token.of(rest))
                .map(|length| Match {
                    rule: length.0,
                    range: at..at + length.1,
                }),
        );
    }
    found
}

impl Token {
    /// The rule, and the token's length, if `rest` begins with one.
    fn of(&self, rest: &[u8]) -> Option<(&'static str, usize)> {
        let body = rest.strip_prefix(self.mark.as_bytes())?;
        let length = body.iter().take_while(|byte| (self.alphabet)(**byte)).count();
        if !(self.least..=self.most).contains(&length) {
            return None;
        }
        let body = body.get(..length)?;
        let fits = self.rule != "json-web-token" || is_web_token(body);
        (fits && !is_placeholder(body) && distinct(body) >= 8)
            .then_some((self.rule, self.mark.len() + length))
    }
}

/// What follows `eyJ` in a signed token: three parts, the second of JSON again.
fn is_web_token(body: &[u8]) -> bool {
    let parts: Vec<&[u8]> = body.split(|byte| *byte == b'.').collect();
    matches!(parts.as_slice(), [_, payload, signature] if payload.starts_with(b"eyJ") && signature.len() >= 20)
}

fn private_keys(data: &[u8]) -> Vec<Match> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = position(data.get(from..).unwrap_or_default(), KEY_BEGINS).map(|at| from + at) {
        from = at + KEY_BEGINS.len();
        let rest = data.get(from..).unwrap_or_default();
        let heading = rest.iter().take(40).take_while(|byte| **byte != b'-').count();
        let Some(body) = rest.get(heading..).and_then(|rest| rest.strip_prefix(b"-----")) else {
            continue;
        };
        let is_private = rest
            .get(..heading)
            .is_some_and(|name| name.ends_with(b"PRIVATE KEY") || name.ends_with(b"PRIVATE KEY BLOCK"));
        let (skipped, length) = key_body(body);
        if is_private && length >= LEAST_KEY_BODY {
            found.push(Match {
                rule: "private-key",
                range: at..from + heading + 5 + skipped + length,
            });
        }
    }
    found
}

/// Bytes between a heading and the body of a key, and the body's length on its first line. A line's end may be written
/// as in a string of a program.
fn key_body(body: &[u8]) -> (usize, usize) {
    let mut at = 0;
    while let Some(byte) = body.get(at) {
        match byte {
            b'\n' | b'\r' | b' ' | b'\t' | b'"' => at += 1,
            b'\\' => at += 2,
            _ => break,
        }
    }
    let line = body.get(at..).unwrap_or_default();
    (at, line.iter().take_while(|byte| base64(**byte)).count())
}

fn base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// `scheme://user:password@host`, for a host that is a real one.
fn address(line: &[u8]) -> Option<Match> {
    let scheme = position(line, b"://")?;
    let start = scheme + 3;
    let authority = line.get(start..)?;
    let end = authority
        .iter()
        .position(|byte| byte.is_ascii_whitespace() || b"/\"'`<>?#,)".contains(byte))
        .unwrap_or(authority.len());
    let authority = authority.get(..end)?;
    let at = authority.iter().rposition(|byte| *byte == b'@')?;
    let (login, host) = (authority.get(..at)?, authority.get(at + 1..)?);
    let colon = login.iter().position(|byte| *byte == b':')?;
    let password = login.get(colon + 1..)?;
    let plain =
        password.len() >= 6 && !is_placeholder(password) && !password.iter().any(|byte| is_template(*byte));
    (plain && !is_nowhere(host)).then(|| Match {
        rule: "address-with-password",
        range: start + colon + 1..start + at,
    })
}

/// Hosts that are this machine, or names that are kept for examples (RFC 2606 and 6761).
fn is_nowhere(host: &[u8]) -> bool {
    let host = String::from_utf8_lossy(host).to_ascii_lowercase();
    let name = host.split(':').next().unwrap_or_default();
    let reserved = [".example", ".invalid", ".test", ".localhost"];
    name.is_empty()
        || matches!(
            name,
            "localhost" | "host" | "example.com" | "example.org" | "example.net"
        )
        || name.starts_with("127.")
        || host.starts_with("[::1]")
        || reserved.iter().any(|end| name.ends_with(end))
        || name.bytes().any(is_template)
}

/// Bytes of a value that is put in later.
fn is_template(byte: u8) -> bool {
    matches!(byte, b'$' | b'{' | b'}' | b'<' | b'>' | b'%' | b'*' | b'(' | b')')
}

const ASSIGNED: &str = "assigned-secret";

/// `password = "..."` in all its spellings, and `PASSWORD=...` on a line of its own.
fn assignments(line: &[u8]) -> Vec<Match> {
    let lower = line.to_ascii_lowercase();
    let mut found = Vec::new();
    for name in NAMES {
        let mut from = 0;
        while let Some(at) = position(lower.get(from..).unwrap_or_default(), name.as_bytes()) {
            from += at + name.len();
            let value = value_after(line, from);
            found.extend(value.filter(|range| is_secret_value(line.get(range.clone()).unwrap_or_default())));
        }
    }
    found.sort_by_key(|range| range.start);
    found.dedup();
    found
        .into_iter()
        .map(|range| Match {
            rule: ASSIGNED,
            range,
        })
        .collect()
}

/// Where the value is that is assigned to the name ending before `at`.
fn value_after(line: &[u8], at: usize) -> Option<Range<usize>> {
    let skip = |from: usize, which: fn(u8) -> bool| {
        from + line
            .get(from..)
            .unwrap_or_default()
            .iter()
            .take_while(|byte| which(**byte))
            .count()
    };
    let name_ends = skip(at, |byte| {
        byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
    });
    let sign = skip(name_ends, |byte| matches!(byte, b'"' | b'\'' | b' ' | b'\t'));
    if !matches!(line.get(sign), Some(b'=' | b':')) {
        return None;
    }
    let value = skip(sign + 1, |byte| byte == b' ' || byte == b'\t');
    match line.get(value) {
        Some(quote @ (b'"' | b'\'')) => {
            let length = line.get(value + 1..)?.iter().position(|byte| byte == quote)?;
            Some(value + 1..value + 1 + length)
        }
        // Without quotes only what is a file of variables or settings: the name begins the line.
        Some(_) if is_setting(line.get(..sign)?) => {
            let end = skip(value, |byte| !byte.is_ascii_whitespace());
            Some(value..end)
        }
        _ => None,
    }
}

/// Whether a line begins with one name, `export` aside.
fn is_setting(before: &[u8]) -> bool {
    let text = before.trim_ascii();
    let name = text.strip_prefix(b"export ").unwrap_or(text);
    !name.is_empty()
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// Whether a value can only be a secret: long, mixed, without the looks of a word, a path, a call or a placeholder.
fn is_secret_value(value: &[u8]) -> bool {
    let has = |which: fn(&u8) -> bool| value.iter().any(which);
    value.len() >= SHORTEST_VALUE
        && value.iter().all(u8::is_ascii_graphic)
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_alphabetic)
        && !value
            .iter()
            .any(|byte| is_template(*byte) || matches!(byte, b';' | b',' | b'[' | b'\\'))
        && !value.starts_with(b"/")
        && !value.starts_with(b".")
        && position(value, b"::").is_none()
        && position(value, b"://").is_none()
        && !is_placeholder(value)
        && bits(value) >= LEAST_BITS
}

fn is_placeholder(value: &[u8]) -> bool {
    let lower = value.to_ascii_lowercase();
    PLACEHOLDERS
        .iter()
        .any(|words| position(&lower, words.as_bytes()).is_some())
}

fn distinct(value: &[u8]) -> usize {
    let mut seen = [false; 256];
    for byte in value {
        seen[usize::from(*byte)] = true;
    }
    seen.iter().filter(|seen| **seen).count()
}

/// Entropy of the bytes' frequencies.
fn bits(value: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in value {
        counts[usize::from(*byte)] += 1;
    }
    let total = value.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / total)
        .map(|share| -share * share.log2())
        .sum()
}

fn position(data: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    loop {
        let at = from + data.get(from..)?.iter().position(|byte| *byte == first)?;
        if data.get(at..)?.starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
