# The four programs in one folder.
{
  agent,
  analyzer,
  cli,
  common,
  controller,
  symlinkJoin,
}:
symlinkJoin {
  name = "rpingmesh-${common.version}";
  paths = [
    agent
    analyzer
    cli
    controller
  ];
  meta.mainProgram = "rpingmesh";
}
