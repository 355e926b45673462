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
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "aarch64-darwin"
        "x86_64-darwin"
      ];
      pkgsFor = lib.genAttrs systems (
        system:
        import nixpkgs {
          inherit system;
          overlays = [
            (import rust-overlay)
            self.overlays.default
          ];
        }
      );
      eachSystem = f: lib.genAttrs systems (system: f pkgsFor.${system});
      modules = import ./nix/modules;
      vmTests = pkgs: pkgs.callPackage ./nix/tests { module = self.nixosModules.default; };
    in
    {
      overlays.default = import ./nix/overlay.nix { inherit crane; };

      packages = eachSystem (
        pkgs: import ./nix/packages { inherit pkgs lib; } { linuxPackages = self.packages; }
      );

      checks = eachSystem (pkgs: pkgs.rpingmesh.checks // vmTests pkgs);

      devShells = eachSystem (pkgs: {
        default = pkgs.rpingmesh.devShell;
      });

      apps = eachSystem (
        pkgs:
        let
          run = program: description: {
            type = "app";
            inherit program;
            meta = { inherit description; };
          };
        in
        {
          default = run (lib.getExe pkgs.rpingmesh.cli) "the operators' program";
          lab = run (lib.getExe pkgs.rpingmesh.lab) "the whole system on an emulated fabric in one process";
        }
        // lib.mapAttrs' (name: test: {
          name = "vm-${name}";
          value = run "${test.driverInteractive}/bin/nixos-test-driver" "interactive driver of the VM test ${name}";
        }) (vmTests pkgs)
      );

      nixosModules = modules // {
        default.imports = builtins.attrValues modules;
      };

      formatter = eachSystem (pkgs: pkgs.nixfmt);
    };
}
