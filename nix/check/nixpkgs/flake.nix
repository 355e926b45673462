{
  description = "Stand-in for nixpkgs: see ../README.md";
  outputs = _: { lib = import ./lib.nix // import ./system.nix; };
}
