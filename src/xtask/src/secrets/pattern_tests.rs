//! Planted secrets are found, and what only looks like one is not. Every planted secret is put together here, so that this
//! file holds none.

use super::*;

/// `length` bytes that look drawn at random, of letters of both cases and digits.
fn drawn(length: usize) -> String {
    let alphabet = b"q7Zk2WmXr9TbLc4VhNs8JdPf3GyEu6Ra5";
    (0..length)
        .map(|n| char::from(alphabet[(n * 7 + n / 33) % alphabet.len()]))
        .collect()
}

fn rules(text: &str) -> Vec<&'static str> {
    find(text.as_bytes())
        .into_iter()
        .map(|found| found.rule)
        .collect()
}

#[test]
fn every_kind_of_token_is_found_in_a_line_of_code() {
    for token in TOKENS.iter().filter(|token| token.rule != "json-web-token") {
        let body = if (token.alphabet)(b'a') {
            drawn(token.least)
        } else {
            drawn(token.least).to_ascii_uppercase()
        };
        let text = format!("let key = \"{}{body}\";", token.mark);
        assert_eq!(rules(&text), [token.rule], "{}", token.mark);
    }
}

#[test]
fn a_token_that_is_too_short_too_long_or_inside_a_word_is_none() {
    let (mark, body) = ("ghp_", drawn(36));
    assert_eq!(rules(&format!("{mark}{body}")), ["github-token"]);
    for text in [
        format!("{mark}{}", drawn(35)),
        format!("{mark}{}", drawn(37)),
        format!("a{mark}{body}"),
        format!("{mark}{}", "a".repeat(36)),
        format!("{mark}{}", "x".repeat(36)),
    ] {
        assert!(rules(&text).is_empty(), "{text}");
    }
}

#[test]
fn a_web_token_has_three_parts() {
    let part = |length| format!("{}{}", "eyJ", drawn(length));
    let whole = format!("{}.{}.{}", part(30), part(40), drawn(43));
    assert_eq!(rules(&whole), ["json-web-token"]);
    assert!(rules(&format!("{}{}", part(30), drawn(90))).is_empty());
    assert!(rules(&format!("{}.{}.{}", part(30), drawn(40), drawn(43))).is_empty());
}

#[test]
fn a_private_key_is_found_by_its_body_and_not_by_its_heading() {
    let heading = |kind: &str| format!("-----{} {kind}-----", "BEGIN");
    for kind in ["PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
        let file = format!("{}\n{}\n", heading(kind), drawn(64));
        assert_eq!(rules(&file), ["private-key"], "{kind}");
    }
    let in_a_string = format!("\"{}\\n{}\\n\"", heading("PRIVATE KEY"), drawn(64));
    assert_eq!(rules(&in_a_string), ["private-key"]);

    assert!(
        rules(&format!(
            "assert!(pem.starts_with(\"{}\"));",
            heading("PRIVATE KEY")
        ))
        .is_empty()
    );
    assert!(rules(&format!("{}\n{}\n", heading("CERTIFICATE"), drawn(64))).is_empty());
}

#[test]
fn a_password_beside_its_name_is_found_in_every_spelling() {
    let value = drawn(20);
    for text in [
        format!("password = \"{value}\""),
        format!("  \"apiKey\": \"{value}\","),
        format!("let broker_password: &str = \"x\"; secret = '{value}'"),
        format!("AZAION_API_PASSWORD={value}"),
        format!("export RABBITMQ_PASSWORD={value}"),
        format!("  password: {value}"),
        format!("client-secret: '{value}'"),
    ] {
        assert_eq!(rules(&text), ["assigned-secret"], "{text}");
    }
}

#[test]
fn what_stands_for_a_password_is_none() {
    for text in [
        "AZAION_API_PASSWORD=replace-me",
        "RABBITMQ_PASSWORD=changeme",
        "api_token = \"your-token-goes-here-1\"",
        "password_file: /run/credentials/azaion-queue.service/broker1",
        "secrets.rabbitmqPassword = \"/run/agenix/rabbitmq-password-2\";",
        "password: ${{ secrets.DEPLOY_PASSWORD_2 }}",
        "AZAION_WEBHOOK_TOKEN=\"$TEAM_WEBHOOK_TOKEN_1\"",
        "let token = Token::parse(argument1)?;",
        "token: std::sync::Arc<Token1>,",
        "const API: &str = \"AZAION_API_PASSWORD='s3cret of the API'\\n\";",
        "password = \"correct horse battery 4 staple\"",
        "secret: 3f6a",
        "token(\"aws-access-key\", upper, 16, 16)",
    ] {
        assert!(rules(text).is_empty(), "{text}");
    }
}

#[test]
fn an_address_with_a_password_is_found_unless_it_leads_nowhere() {
    let password = drawn(10);
    let address = |host: &str| format!("url = amqp://reader:{password}@{host}/cells");
    assert_eq!(rules(&address("broker.internal:5672")), ["address-with-password"]);
    for host in [
        "127.0.0.1:5672",
        "localhost",
        "broker.example",
        "example.com",
        "$HOST",
    ] {
        assert!(rules(&address(host)).is_empty(), "{host}");
    }
    assert!(rules("amqp://USER@HOST/STREAM, amqp://reader:$PASSWORD@broker.internal").is_empty());
}

#[test]
fn a_token_beside_its_name_is_one_finding() {
    let text = format!("password = \"{}{}\"", "ghp_", drawn(36));
    assert_eq!(rules(&text), ["github-token"]);
}

#[test]
fn programs_are_searched_for_tokens_and_keys_too() {
    let mut program = vec![0x7f, b'E', b'L', b'F', 0, 0, 0];
    program.extend(format!("{}{}", "AKIA", drawn(16).to_ascii_uppercase()).bytes());
    program.push(0);
    assert_eq!(find(&program).len(), 1);
}
