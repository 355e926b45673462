# Adds the scope `rpingmesh`. It needs no other overlay.
{ crane, rust-overlay }:
final: _prev: {
  rpingmesh = final.lib.makeScope final.newScope (
    self:
    let
      inherit (final) lib;
      # A function, so that crane can ask for the toolchain of each platform of a cross compilation.
      toolchainFor =
        pkgs: (rust-overlay.lib.mkRustBin { } pkgs).fromRustupToolchainFile ../rust-toolchain.toml;
    in
    {
      craneLib = (crane.mkLib final).overrideToolchain toolchainFor;
      inherit toolchainFor;

      # What all packages of the workspace have in common.
      common = {
        pname = "rpingmesh";
        version = (lib.importTOML ../Cargo.toml).workspace.package.version;
      };
      # A plain set: callPackage would add `override` to it as if it were a package.
      sources = import ./sources.nix { inherit lib; };

      cargoArtifacts = self.callPackage ./packages/dependencies.nix { };
      program = self.callPackage ./packages/program.nix;
      agent = self.callPackage ./packages/agent.nix { };
      controller = self.program { name = "rpingmesh-controller"; };
      analyzer = self.program { name = "rpingmesh-analyzer"; };
      cli = self.program { name = "rpingmesh"; };
      all = self.callPackage ./packages/all.nix { };
      examples = self.callPackage ./packages/examples.nix { };
      lab = self.callPackage ./packages/lab.nix { };
      macos-stub = self.callPackage ./packages/macos-stub.nix { };

      bpfLinker = self.callPackage ./packages/bpf-linker.nix { };
      ebpf-bpfel-x86_64 = self.callPackage ./packages/ebpf.nix { targetArch = "x86_64"; };
      ebpf-bpfel-aarch64 = self.callPackage ./packages/ebpf.nix { targetArch = "aarch64"; };

      image-agent = self.callPackage ./packages/image.nix { program = self.agent; };
      image-controller = self.callPackage ./packages/image.nix { program = self.controller; };
      image-analyzer = self.callPackage ./packages/image.nix {
        program = self.analyzer;
        others = [ self.cli ];
      };

      devShell = self.callPackage ./packages/dev-shell.nix { };
    }
  );
}
