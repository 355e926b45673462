# `import nixpkgs { … }` of 26.11 (release notes of 26.05; pkgs/top-level): Intel Macs are refused.
arguments:
if arguments.system == "x86_64-darwin" then
  throw "nixpkgs 26.11 does not support x86_64-darwin any more"
else
  import ../nixpkgs arguments
