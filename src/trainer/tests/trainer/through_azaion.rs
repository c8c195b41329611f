//! `azaion`, the tool that has no libtorch, runs this program under its own name.

use crate::common::azaion;
use predicates::{prelude::PredicateBooleanExt, str::contains};
use std::path::Path;

#[test]
fn usage_help_and_failures_read_as_those_of_the_tool_that_was_called() {
    let test = "usage_help_and_failures_read_as_those_of_the_tool_that_was_called";
    let tool = Path::new(azaion(&[]).get_program()).with_file_name("azaion");
    if !tool.is_file() {
        eprintln!("skipped: {test}: azaion is not built beside (cargo build -p cli)");
        return;
    }
    let call = |arguments: &[&str]| {
        let mut command = assert_cmd::Command::new(&tool);
        command.args(arguments).assert()
    };
    call(&["demo", "--help"])
        .success()
        .stdout(contains("Usage: azaion demo").and(contains("--epochs")));
    call(&["model", "val"])
        .code(64)
        .stderr(contains("Usage: azaion model val"));
    call(&["detect", "--model", "absent.pt", "x.jpg"])
        .code(1)
        .stderr(contains("absent.pt"));
}
