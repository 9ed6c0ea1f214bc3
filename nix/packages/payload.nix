# The payload of a role (images/node), the very files that the Debian images run, with NixOS' paths filled in.
{
  dropIns ? { },
  lib,
  placeholders,
  role,
  runCommandLocal,
  stdenv,
}:

let
  fill = lib.mapAttrsToList (name: value: "${name}=${value}") placeholders;

  addDropIn = unit: text: ''
    mkdir -p "$out/lib/systemd/system/${unit}.d"
    printf '%s' ${lib.escapeShellArg text} > "$out/lib/systemd/system/${unit}.d/nixos.conf"
  '';
in
runCommandLocal "pgha-payload-${role}"
  {
    src = lib.fileset.toSource {
      root = ../../images/node;
      # Whole: a role may link to another role's file.
      fileset = lib.fileset.difference ../../images/node ../../images/node/README.md;
    };
  }
  ''
    ${stdenv.shell} "$src/install" ${role} "$out" ${lib.escapeShellArgs fill}
    ${lib.concatStrings (lib.mapAttrsToList addDropIn dropIns)}
  ''
