# The files that derivations see: a change elsewhere in the repository builds nothing anew.
{ lib }:
let
  inherit (lib) fileset;
  # What cargo needs to build the programs. ebpf/event is a dependency whose manifest inherits from ebpf/Cargo.toml, and
  # cargo wants every member and every target that a manifest names.
  programs = fileset.unions [
    ../Cargo.toml
    ../Cargo.lock
    ../askama.toml
    ../.cargo
    ../build.rs
    ../proto
    ../src
    ../benches
    ../examples
    ../tests/it
    ../tests/emulated-rnic
    ../rdma-core-sys
    ../third-party
    ../xtask
    ebpf
  ];
  ebpf = fileset.unions [
    ../ebpf/Cargo.toml
    ../ebpf/Cargo.lock
    ../ebpf/event
    ../ebpf/programs
  ];
  source =
    set:
    fileset.toSource {
      root = ../.;
      fileset = set;
    };
in
{
  programs = source programs;
  ebpf = source ebpf;
  # Tests compare the programs with the documents, follow the links between them and run the scenario files. `cargo xtask flake`
  # runs those that read files with nothing but these.
  tests = source (
    fileset.unions [
      programs
      ../.config
      ../CHANGELOG.md
      ../CONTRIBUTING.md
      ../LICENSE-APACHE
      ../LICENSE-MIT
      ../README.md
      ../SECURITY.md
      ../deny.toml
      ../deploy
      ../docs
      ../fuzz
      ../lima
      ../monitoring
      ../nix
      ../packaging
      ../tests
    ]
  );
}
