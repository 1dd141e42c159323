//! A report as JUnit XML, which GitLab, Jenkins and GitHub's test reporters read.
//!
//! There is no standard; what is written is what they agree on (<https://github.com/testmoapp/junitxml>, Jenkins' `junit-4.xsd`):
//! a suite for each lint, a case for each finding, told by its class name (the lint) and its name (split, id and column), by
//! which GitLab tells cases apart. Findings that fail a run are failures, the others skipped cases with their message. A lint
//! that found nothing is one case that passed.

use std::fmt::Write as _;

use super::report::{Finding, Linted, Report};
use crate::xml::escaped;

/// The report as a document. `strict`: warnings are failures, too.
pub fn junit(report: &Report, strict: bool) -> String {
    let (mut cases, mut failures) = (0, 0);
    let mut suites = String::new();
    for lint in &report.lints {
        let fails = Report::fails(lint.severity, strict);
        let suite = of_lint(lint, fails);
        cases += suite.cases;
        failures += suite.failures;
        suites += &suite.text;
    }
    let name = escaped(&report.dataset.to_string_lossy());
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites name=\"dsctl validate {name}\" tests=\"{cases}\" failures=\"{failures}\" errors=\"0\">\n{suites}</testsuites>\n"
    )
}

struct Suite {
    text: String,
    cases: u64,
    failures: u64,
}

fn of_lint(lint: &Linted, fails: bool) -> Suite {
    let mut body = String::new();
    let class = format!("dsctl.validate.{}", lint.code);
    let mut case = |name: &str, severity: &str, message: &str| {
        let _ = writeln!(body, "    <testcase classname=\"{class}\" name=\"{}\" time=\"0\">", escaped(name));
        let text = escaped(&format!("{message}\n{}", lint.help));
        let _ = match fails {
            true => {
                writeln!(body, "      <failure type=\"{severity}\" message=\"{}\">{text}</failure>", escaped(message))
            }
            false => writeln!(body, "      <skipped>{severity}: {text}</skipped>"),
        };
        body.push_str("    </testcase>\n");
    };
    for finding in &lint.findings {
        case(&place(finding), lint.severity.name(), &finding.message);
    }
    let mut cases = lint.findings.len() as u64;
    if lint.left_out() > 0 {
        cases += 1;
        let message = format!("{} more were found, --max-findings lists them", lint.left_out());
        case("the rest", lint.severity.name(), &message);
    }
    let found = cases;
    if cases == 0 {
        cases = 1;
        let _ = writeln!(body, "    <testcase classname=\"{class}\" name=\"nothing found\" time=\"0\"/>");
    }
    let (failures, skipped) = if fails { (found, 0) } else { (0, found) };
    let code = lint.code;
    let head = format!("name=\"{code}\" tests=\"{cases}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\"");
    Suite { text: format!("  <testsuite {head} time=\"0\">\n{body}  </testsuite>\n"), cases, failures }
}

/// What a finding is about, unlike that of any other of its lint.
fn place(finding: &Finding) -> String {
    let parts = [finding.split.as_deref(), finding.id.as_deref(), Some(finding.column.as_str())];
    let mut place = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    if finding.row.is_none() {
        // Several findings of a column differ only by what they say.
        let _ = write!(place, ": {}", finding.message);
    }
    place
}
