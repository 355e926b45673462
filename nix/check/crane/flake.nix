{
  description = "Stand-in for crane: see ../README.md";
  outputs = _: { mkLib = import ./lib.nix; };
}
