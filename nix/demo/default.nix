# A guest to look at: the three roles as services of the NixOS modules, and the lab. `nix run .#demo` boots it.
{
  nixpkgs,
  # Those of the machine that boots the guest. The guest has the same processor, and is Linux.
  pkgs,
  self,
}:
nixpkgs.lib.nixosSystem {
  modules = [
    "${nixpkgs}/nixos/modules/virtualisation/qemu-vm.nix"
    self.nixosModules.default
    ./guest.nix
    {
      nixpkgs.hostPlatform = "${pkgs.stdenv.hostPlatform.parsed.cpu.name}-linux";
      virtualisation.host.pkgs = pkgs;
    }
  ];
  specialArgs = { inherit self; };
}
