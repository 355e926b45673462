# NixOS modules by role. They take the programs from `pkgs.rpingmesh`, which overlays.default adds.
{
  agent = ./agent.nix;
  analyzer = ./analyzer.nix;
  controller = ./controller.nix;
}
