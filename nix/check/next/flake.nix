{
  description = "Stand-in for the nixpkgs that `nix flake update` will bring one day: see ../README.md";
  outputs = _: {
    lib =
      import ../nixpkgs/lib.nix
      // import ../nixpkgs/system.nix
      // {
        trivial.release = "26.11";
      };
  };
}
