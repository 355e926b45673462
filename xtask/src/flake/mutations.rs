//! The checker checked: each change that must be found is made to a copy, and the message has to name it.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};

use super::checkout::Checkout;
use super::nix::Nix;
use super::{Checks, report, sandbox};

/// How many mistakes are looked for at a time.
const WORKERS: usize = 2;

/// A mistake.
struct Mutation {
    /// What is wrong.
    what: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    /// What the message has to contain.
    named: &'static str,
}

const MUTATIONS: &[Mutation] = &[
    Mutation {
        what: "a package that does not exist",
        file: "nix/packages/dev-shell.nix",
        from: "  cargo-insta,\n",
        to: "  cargo-insta,\n  cargo-instant,\n",
        named: "cargo-instant",
    },
    Mutation {
        what: "an attribute that the scope does not have",
        file: "nix/packages/default.nix",
        from: "default = scope.all;",
        to: "default = scope.everything;",
        named: "everything",
    },
    Mutation {
        what: "a function that lib does not have",
        file: "nix/modules/agent.nix",
        from: "config = lib.mkIf cfg.enable",
        to: "config = lib.mkIff cfg.enable",
        named: "mkIff",
    },
    Mutation {
        what: "a misspelt argument of crane",
        file: "nix/packages/checks.nix",
        from: "cargoClippyExtraArgs = ",
        to: "cargoClippyExtraArg = ",
        named: "cargoClippyExtraArg ",
    },
    Mutation {
        what: "a misspelt argument of runNixOSTest",
        file: "nix/tests/modules.nix",
        from: "globalTimeout = 900;",
        to: "globalTimeOut = 900;",
        named: "globalTimeOut",
    },
    Mutation {
        what: "a misspelt option of NixOS",
        file: "nix/modules/agent.nix",
        from: "boot.kernelModules",
        to: "boot.kernelModule",
        named: "boot.kernelModule ",
    },
    Mutation {
        what: "an option of NixOS with a value of the wrong type",
        file: "nix/tests/modules.nix",
        from: "virtualisation.memorySize = 1024;",
        to: "virtualisation.memorySize = \"1G\";",
        named: "virtualisation.memorySize",
    },
    Mutation {
        what: "a misspelt option of our own module",
        file: "nix/tests/modules.nix",
        from: "      services.rpingmesh.agent = {\n        enable = true;\n        openFirewall = true;",
        to: "      services.rpingmesh.agent = {\n        enable = true;\n        openFireWall = true;",
        named: "services.rpingmesh.agent.openFireWall",
    },
    Mutation {
        what: "a setting that its type refuses",
        file: "nix/check/samples.nix",
        from: "transport = \"userspace\";",
        to: "transport = \"rdma\";",
        named: "services.rpingmesh.agent.settings.transport",
    },
    Mutation {
        what: "a setting that check-config refuses",
        file: "nix/check/samples.nix",
        from: "probe_timeout = \"500ms\";",
        to: "probe_timeout = \"2m\";",
        named: "probe_timeout",
    },
    Mutation {
        what: "an option whose key the program does not know",
        file: "nix/modules/keys.json",
        from: "\"path\":[\"host\"]",
        to: "\"path\":[\"hostname\"]",
        named: "services.rpingmesh.agent.settings.hostname",
    },
    Mutation {
        what: "a key of a program without an option",
        file: "docs/config/agent.toml",
        from: "#host = \"host-a\"\n",
        to: "#host = \"host-a\"\n#rack = \"r1\"\n",
        named: "rack of docs/config/agent.toml has no option",
    },
    Mutation {
        what: "an option that no sample sets",
        file: "nix/check/samples.nix",
        from: "    queue_pairs = 8;\n",
        to: "    # No queue pairs.\n",
        named: "services.rpingmesh.agent.settings.queue_pairs: no sample",
    },
    Mutation {
        what: "a misspelt directive of a unit",
        file: "nix/modules/role.nix",
        from: "ProtectHome = true;",
        to: "ProtectHone = true;",
        named: "ProtectHone",
    },
    Mutation {
        what: "a unit that is confined otherwise than the packaged one",
        file: "packaging/systemd/rpingmesh-controller.service",
        from: "ProtectSystem=strict",
        to: "ProtectSystem=full",
        named: "ProtectSystem",
    },
    Mutation {
        what: "a refusal that does not come",
        file: "nix/check/samples.nix",
        from: "probe_timeout = \"5h\";",
        to: "probe_timeout = \"5s\";",
        named: "accepts what it should refuse because of `probe_timeout`",
    },
    Mutation {
        what: "a hash edited by hand",
        file: "flake.lock",
        from: "sha256-MPaRdVkf6zZP5fCPxYCi8Dr4pZzgmXzg8T9nVEbp3Mw=",
        to: "sha256-AAAAdVkf6zZP5fCPxYCi8Dr4pZzgmXzg8T9nVEbp3Mw=",
        named: "node crane: locked: narHash",
    },
    Mutation {
        what: "a revision edited by hand",
        file: "flake.lock",
        from: "\"rev\": \"21a67dc470149f337cecafbe965d8d252a390518\"",
        to: "\"rev\": \"31a67dc470149f337cecafbe965d8d252a390518\"",
        named: "node nixpkgs: locked: rev",
    },
    Mutation {
        what: "an input that is not locked",
        file: "flake.nix",
        from: "    crane.url = \"github:ipetkov/crane\";\n",
        to: "    crane.url = \"github:ipetkov/crane\";\n    systems.url = \"github:nix-systems/default\";\n",
        named: "systems",
    },
    Mutation {
        what: "a source file that does not exist",
        file: "nix/sources.nix",
        from: "    ../proto\n",
        to: "    ../protos\n",
        named: "protos",
    },
    Mutation {
        what: "a program without a package in a scenario",
        file: "tests/vm/boot/scenario.toml",
        from: "\"ibv_devinfo\"",
        to: "\"ibv_devinfo\", \"ibv_deviceinfo\"",
        named: "ibv_deviceinfo",
    },
    Mutation {
        what: "a script that is no Python",
        file: "nix/tests/modules.nix",
        from: "for host in [alpha, beta]:\n        host.wait_for_unit(\"rxe.service\")",
        to: "for host in [alpha, beta]\n        host.wait_for_unit(\"rxe.service\")",
        named: "[syntax]",
    },
    Mutation {
        what: "a machine that the test does not have",
        file: "nix/tests/modules.nix",
        from: "monitor.wait_for_unit(",
        to: "control.wait_for_unit(",
        named: "control",
    },
    Mutation {
        what: "wrong format",
        file: "flake.nix",
        from: "  inputs = {",
        to: "  inputs =   {",
        named: "flake.nix",
    },
    Mutation {
        what: "an unused name",
        file: "nix/packages/image.nix",
        from: "  dockerTools,\n",
        to: "  dockerTools,\n  jq,\n",
        named: "jq",
    },
    Mutation {
        what: "a plain set that goes through callPackage",
        file: "flake.nix",
        from: "vmTests = pkgs: import ./nix/tests { inherit lib pkgs self; };",
        to: "vmTests = pkgs: pkgs.callPackage ./nix/tests { inherit self; };",
        named: "override",
    },
    Mutation {
        what: "an Intel Mac that the next nixpkgs refuses",
        file: "flake.nix",
        from: "(lib.versionOlder lib.trivial.release \"26.11\")",
        to: "(lib.versionOlder lib.trivial.release \"27.11\")",
        named: "x86_64-darwin",
    },
    Mutation {
        what: "VM tests among the checks of macOS",
        file: "flake.nix",
        from: "// lib.optionalAttrs pkgs.stdenv.hostPlatform.isLinux (vmTests pkgs)",
        to: "// vmTests pkgs",
        named: "the row of `checks boot`",
    },
    Mutation {
        what: "a formatter that reads standard input",
        file: "flake.nix",
        from: "pkgs.nixfmt-tree",
        to: "pkgs.nixfmt",
        named: "formatter.",
    },
    Mutation {
        what: "an image that is not checked",
        file: "nix/packages/checks.nix",
        from: "    \"default\"\n",
        to: "    \"default\"\n    \"image-agent\"\n",
        named: "checks image-agent",
    },
    Mutation {
        what: "an agent for the other processor that is not checked",
        file: "nix/packages/checks.nix",
        from: "elsewhere = lib.optionals isDarwin [",
        to: "elsewhere = lib.optionals true [",
        named: "checks agent-",
    },
    Mutation {
        what: "an image that is started otherwise than the one of deploy/Dockerfile",
        file: "nix/packages/image.nix",
        from: "\"--config\"\n",
        to: "\"--configuration\"\n",
        named: "the start command",
    },
    Mutation {
        what: "an image whose name no Compose file has",
        file: "nix/packages/image.nix",
        from: "name = \"rpingmesh/${role}\";",
        to: "name = \"rpingmesh-${role}\";",
        named: "rpingmesh-agent",
    },
    Mutation {
        what: "modules that need an overlay in the user's system",
        file: "nix/modules/default.nix",
        from: "self.packages.${pkgs.stdenv.hostPlatform.system}.${name}",
        to: "(self // pkgs).rpingmesh.${name}",
        named: "attribute 'rpingmesh' missing",
    },
    Mutation {
        what: "a module that cannot be imported beside the one of all roles",
        file: "nix/modules/default.nix",
        from: "    key = \"rpingmesh#nixosModules.${name}\";\n",
        to: "",
        named: "declared more than once",
    },
    Mutation {
        what: "an option of NixOS that the demo misspells",
        file: "nix/demo/guest.nix",
        from: "services.getty.autologinUser",
        to: "services.getty.autoLoginUser",
        named: "services.getty.autoLoginUser",
    },
    Mutation {
        what: "a shell whose tools cargo xtask does not take",
        file: "nix/packages/dev-shell.nix",
        from: "RPINGMESH_TOOLS = \"path\";",
        to: "RPINGMESH_TOOL = \"path\";",
        named: "RPINGMESH_TOOLS",
    },
    Mutation {
        what: "a script whose types are not the driver's: one node",
        file: "nix/tests/scenario.nix",
        from: "for each in machines:\n        each.",
        to: "for machine in machines:\n        machine.",
        named: "\"QemuMachine\"",
    },
    Mutation {
        what: "a method that the driver's machines do not have",
        file: "nix/tests/modules.nix",
        from: "host.wait_for_unit(\"rxe.service\")",
        to: "host.wait_for_service(\"rxe.service\")",
        named: "wait_for_service",
    },
    Mutation {
        what: "a step that calls a program which its scenario does not ask for",
        file: "tests/vm/soft-roce/scenario.toml",
        from: "\"busybox\", ",
        to: "",
        named: "pingpong-server.sh calls busybox",
    },
    Mutation {
        what: "a step that needs what nixpkgs' kernel lacks",
        file: "tests/vm/service-tracing/steps/locked.sh",
        from: "modules=$(cat \"$SECURITY/lsm\")",
        to: "modules=lockdown",
        named: "the kernel's lockdown",
    },
];

/// Files that tests read and that the sources of the flake's check must have; they show only when the tests are run.
const SOURCES: &[Mutation] = &[
    Mutation {
        what: "a filtered source without a folder whose documents are tested",
        file: "nix/sources.nix",
        from: "      ../packaging\n",
        to: "",
        named: "/packaging",
    },
    Mutation {
        what: "a filtered source without the flake's own documents",
        file: "nix/sources.nix",
        from: "      ../nix\n",
        to: "",
        named: "/nix/check",
    },
];

/// The test that finds these.
const OF_SOURCES: &str = "test(=documents::links_between_documents_lead_somewhere)";

/// Runs all and returns whether each was found. Two workers run at the same time, each with its own copy of the
/// repository and its own store.
pub(crate) fn run(checks: &Checks<'_>) -> Result<bool> {
    every_check(checks, &Checkout::of_workspace()?)
        .map_err(|error| error.context("the flake has to pass before it is broken"))?;
    let of_sources = SOURCES.iter().map(|mutation| (mutation, true));
    let all = MUTATIONS.iter().map(|mutation| (mutation, false));
    let waiting = Mutex::new(all.chain(of_sources));
    let next = || {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.next()
    };
    let worker = || -> Result<usize> {
        let checkout = Checkout::of_workspace()?;
        let nix = Nix::provide(checks.cache)?;
        let checks = Checks {
            nix: &nix,
            ..*checks
        };
        let mut missed = 0;
        while let Some((mutation, in_sandbox)) = next() {
            let started = Instant::now();
            let outcome = found(&checks, &checkout, mutation, in_sandbox);
            let seconds = started.elapsed().as_secs_f64();
            match outcome {
                Ok(()) => println!("found  {seconds:5.1} s  {}", mutation.what),
                Err(error) => {
                    missed += 1;
                    println!("MISSED {seconds:5.1} s  {}: {error:#}", mutation.what);
                }
            }
        }
        Ok(missed)
    };
    let missed = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|_| Err(anyhow!("a worker panicked")))
            })
            .sum::<Result<usize>>()
    })?;
    println!(
        "{} mistakes, {missed} missed",
        MUTATIONS.len() + SOURCES.len()
    );
    Ok(missed == 0)
}

fn found(
    checks: &Checks<'_>,
    checkout: &Checkout,
    mutation: &Mutation,
    in_sandbox: bool,
) -> Result<()> {
    let before = checkout.read(mutation.file)?;
    checkout.replace(mutation.file, mutation.from, mutation.to)?;
    let outcome = if in_sandbox {
        sandboxed(checks, checkout)
    } else {
        every_check(checks, checkout)
    };
    checkout.write(mutation.file, &before)?;
    match outcome {
        Ok(()) => Err(anyhow!("every check passed")),
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(
                said.contains(mutation.named),
                "the message does not name `{}`: {said}",
                mutation.named
            );
            Ok(())
        }
    }
}

/// One test in the sandbox.
fn sandboxed(checks: &Checks<'_>, checkout: &Checkout) -> Result<()> {
    let report = report::evaluate(checks.nix, checkout)?;
    let tests = sandbox::Tests::Filter(OF_SOURCES.to_owned());
    sandbox::run(checks.cache, checks.nix, &report, checkout, &tests).map(drop)
}

/// The first check that fails decides.
fn every_check(checks: &Checks<'_>, checkout: &Checkout) -> Result<()> {
    for (_, check) in checks.of_files(checkout) {
        check()?;
    }
    let report = report::evaluate(checks.nix, checkout)?;
    for (_, check) in checks.of_report(&report, checkout) {
        check()?;
    }
    Ok(())
}
