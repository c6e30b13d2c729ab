# The uv workspace as uv.lock and its members' pyproject.toml describe it, for any machine.
{ inputs }:
let
  inherit (inputs.nixpkgs) lib;
  members = lib.filter (package: package.source ? editable) (lib.importTOML ../uv.lock).package;
  project = member: (lib.importTOML (../. + "/${member.source.editable}/pyproject.toml")).project;
in
{
  locked = inputs.uv2nix.lib.workspace.loadWorkspace { workspaceRoot = ../.; };

  # Every console script of its members.
  scripts = lib.concatMap (member: lib.attrNames ((project member).scripts or { })) members;
}
