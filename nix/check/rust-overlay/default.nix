# `rust-bin.fromRustupToolchainFile` (lib/rust-bin.nix): reads the file, takes `override { targets, extensions }`.
_final: prev: {
  rust-bin.fromRustupToolchainFile =
    file:
    let
      inherit (fromTOML (builtins.readFile file)) toolchain;
      make =
        targets:
        prev.checker.fake {
          name = "rust-${toolchain.channel}";
          inputs = targets;
        }
        // {
          override =
            arguments:
            make
              (prev.checker.onlyArguments "rust toolchain.override" [ "targets" "extensions" ] arguments).targets
                or [ ];
        };
    in
    make (toolchain.targets or [ ]);
}
