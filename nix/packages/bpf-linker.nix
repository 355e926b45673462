# bpf-linker reads the bitcode that rustc writes, so its LLVM must be rustc's: 1.95.0 has LLVM 22.
{
  bpf-linker,
  llvmPackages_22,
}:
if bpf-linker.override.__functionArgs ? llvmPackagesForLinker then
  bpf-linker.override { llvmPackagesForLinker = llvmPackages_22; }
else
  throw "bpf-linker of this nixpkgs cannot be given another LLVM: look at its package.nix and adapt nix/packages/bpf-linker.nix"
