//! Accessibility of each page by axe-core (npm, pinned in tests/browser/package-lock.json): light and dark, desktop and phone.
//! Serious and critical findings fail, moderate and minor ones do not.

use super::BAD_CELL;
use super::driver::Browser;
use super::lab::Lab;

/// Names the script `axe.min.js`; `cargo xtask test --only browser` sets it.
const SCRIPT: &str = "RPINGMESH_AXE";

/// All kinds of pages, with those that say that something is not there.
const PAGES: [&str; 21] = [
    "/",
    "/?metric=p99&window=120s",
    "/?at=1700000000",
    "/fabric",
    "/fabric?node=spine1",
    "/incidents",
    "/incidents?filter=severity%3DP0",
    "/incidents/1",
    "/incidents/999",
    "/services",
    "/services/train.service",
    "/agents",
    "/agents?sort=-host",
    "/tor/tor0/tor3",
    "/rnic/host0/rnic0",
    "/link/spine1/tor3",
    "/host/host0",
    "/trend/tor/tor0/tor3",
    "/search?q=tor",
    "/search?q=nothing+has+this+name",
    "/agents?filter=%3D%3D",
];

/// The serious and critical findings, one line for each element. Folded parts are unfolded first.
const FINDINGS: &str = "(async () => {
    document.querySelectorAll('details').forEach(part => part.open = true);
    const result = await axe.run(document, { resultTypes: ['violations'] });
    return result.violations
        .filter(rule => rule.impact === 'serious' || rule.impact === 'critical')
        .flatMap(rule => rule.nodes.map(node =>
            `${rule.id} (${rule.impact}) ${node.target.join(' ')}: ${node.html.slice(0, 200)}: ${node.failureSummary}`));
})()";

/// Desktop and phone: width, height, whether it is a phone.
#[derive(Clone, Copy)]
struct Screen(u32, u32, bool);

async fn findings(browser: &Browser, lab: &Lab, path: &str) -> Vec<String> {
    browser.open(&lab.url(path)).await;
    browser
        .wait_for("document.documentElement.dataset.ready === 'yes'")
        .await;
    let found = browser.resolved(FINDINGS).await;
    let found = found.as_array().expect("a list").clone();
    found
        .iter()
        .map(|line| format!("{path}: {}", line.as_str().unwrap_or_default()))
        .collect()
}

/// Each page in both colour schemes. The page of a pair of RNICs is reached by a link: its address has GIDs.
async fn check(screen: Screen) {
    let script = std::env::var(SCRIPT).unwrap_or_else(|_| {
        panic!("{SCRIPT} names axe.min.js: run cargo xtask test --only browser")
    });
    let script =
        std::fs::read_to_string(&script).unwrap_or_else(|error| panic!("{script}: {error}"));
    let lab = Lab::start().await;
    let browser = Browser::start().await;
    browser.run_in_each_page(&script).await;
    let Screen(width, height, is_phone) = screen;
    browser.screen(width, height, is_phone).await;
    browser.open(&lab.url("/")).await;
    browser.wait_for(BAD_CELL).await;
    browser
        .wait_for("document.querySelector('.incidents li.open')")
        .await;
    browser.open(&lab.url("/tor/tor0/tor3")).await;
    browser
        .wait_for("document.querySelector('table.list tbody a[href^=\"/path/\"]')")
        .await;
    let path = browser
        .value(
            "document.querySelector('table.list tbody a[href^=\"/path/\"]').getAttribute('href')",
        )
        .await;
    let path = path.as_str().expect("an address").to_owned();
    let mut found = Vec::new();
    for is_dark in [false, true] {
        browser.dark(is_dark).await;
        for page in PAGES.into_iter().chain([path.as_str()]) {
            let scheme = if is_dark { "dark" } else { "light" };
            let on_page = findings(&browser, &lab, page).await;
            found.extend(on_page.into_iter().map(|line| format!("{scheme} {line}")));
        }
    }
    lab.end().await;
    assert!(
        found.is_empty(),
        "{} findings:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium and its driver: cargo xtask test --only browser"]
async fn pages_are_accessible_on_a_desktop() {
    check(Screen(1280, 860, false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium and its driver: cargo xtask test --only browser"]
async fn pages_are_accessible_on_a_phone() {
    check(Screen(390, 844, true)).await;
}
