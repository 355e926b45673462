# `rust-bin.fromRustupToolchainFile` (lib/rust-bin.nix): reads the file, takes `override { targets, extensions }`.
pkgs: {
  fromRustupToolchainFile =
    file:
    let
      inherit (fromTOML (builtins.readFile file)) toolchain;
      make =
        targets:
        pkgs.checker.fake {
          name = "rust-${toolchain.channel}";
          inputs = targets;
        }
        // {
          override =
            arguments:
            make
              (pkgs.checker.onlyArguments "rust toolchain.override" [ "targets" "extensions" ] arguments).targets
                or [ ];
        };
    in
    make (toolchain.targets or [ ]);
}
