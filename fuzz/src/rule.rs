//! Any text as a rule for the names of services: an error that says something, or a rule that is the same when it is written and read
//! again.

use rpingmesh::service::rules::Rule;

/// Takes one input.
pub fn run(text: &str) {
    match text.parse::<Rule>() {
        Ok(rule) => {
            let again = rule.to_string().parse::<Rule>();
            assert_eq!(again.as_ref(), Ok(&rule), "{rule}");
        }
        Err(error) => assert!(!error.is_empty()),
    }
}
