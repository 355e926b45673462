{
  description = "Stand-in for rust-overlay: see ../README.md";
  # flake.nix of the locked revision: `mkRustBin { } pkgs` is `rust-bin` without an overlay.
  outputs = _: {
    lib.mkRustBin = _: import ./.;
  };
}
