{
  description = "rpingmesh: RoCE v2 fabric monitoring by active probing";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    rust-overlay = {
      url = "github:oxalica/rust-overlay";
      inputs.nixpkgs.follows = "nixpkgs";
    };
    crane.url = "github:ipetkov/crane";
  };

  outputs =
    {
      self,
      nixpkgs,
      rust-overlay,
      crane,
    }:
    let
      inherit (nixpkgs) lib;
      # Later releases of nixpkgs refuse Intel Macs: their attributes would make every evaluation fail.
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "aarch64-darwin"
      ]
      ++ lib.optional (lib.versionOlder lib.trivial.release "26.11") "x86_64-darwin";
      pkgsFor = lib.genAttrs systems (
        system:
        import nixpkgs {
          inherit system;
          overlays = [ self.overlays.default ];
          # The last release that has them warns unless it is told that somebody knows.
          config = lib.optionalAttrs (system == "x86_64-darwin") { allowDeprecatedx86_64Darwin = true; };
        }
      );
      eachSystem = f: lib.genAttrs systems (system: f pkgsFor.${system});

      vmTests = pkgs: import ./nix/tests { inherit lib pkgs self; };
      demoFor = pkgs: import ./nix/demo { inherit nixpkgs pkgs self; };
    in
    {
      overlays.default = import ./nix/overlay.nix { inherit crane rust-overlay; };

      packages = eachSystem (pkgs: import ./nix/packages { inherit lib pkgs self; });

      checks = eachSystem (
        pkgs:
        import ./nix/packages/checks.nix {
          inherit lib pkgs;
          packages = self.packages.${pkgs.stdenv.hostPlatform.system};
        }
        # Their guests are Linux machines: on macOS `nix flake check` would need a builder for them.
        // lib.optionalAttrs pkgs.stdenv.hostPlatform.isLinux (vmTests pkgs)
      );

      devShells = eachSystem (pkgs: {
        default = pkgs.rpingmesh.devShell;
      });

      apps = eachSystem (
        pkgs:
        import ./nix/apps.nix {
          inherit lib pkgs;
          demo = demoFor pkgs;
          vmTests = vmTests pkgs;
        }
      );

      nixosModules = import ./nix/modules { inherit lib self; };

      nixosConfigurations.demo = demoFor pkgsFor.x86_64-linux;

      formatter = eachSystem (pkgs: pkgs.nixfmt-tree);
    };
}
