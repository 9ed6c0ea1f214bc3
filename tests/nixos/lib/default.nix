# A scenario is { inventory, machines, testScript, ... }; `run` makes a NixOS test of it: every host of the
# inventory as a machine of its role, with its identity, and a client.
{ pgha-orch, pkgs }:

let
  inherit (pkgs) lib;

  # By `pgha-orch render`, in the build. On a machine that can build no Python package, ./rendered holds what it
  # rendered beforehand (tests/nixos/render makes it; it is in no commit).
  identities =
    inventory:
    if builtins.pathExists (./rendered + "/${inventory}") then
      builtins.path {
        path = ./rendered + "/${inventory}";
        name = "pgha-identities-${inventory}";
      }
    else
      pkgs.runCommandLocal "pgha-identities-${inventory}" { nativeBuildInputs = [ pgha-orch ]; } ''
        pgha-orch render ${./inventories + "/${inventory}.json"} --state-dir "$PWD/state" --out "$out"
        cp state/secrets.json "$out/"
      '';

  scenarioModule =
    name:
    {
      # Which of ./inventories.
      inventory ? "ha",
      # "containers" share the kernel and start in a second; "nodes" are VMs, for what needs a kernel, a disk or a power
      # switch of its own.
      machines ? "containers",
      # More modules for single hosts, by name; what is named here and is no host is a machine more.
      extra ? { },
      # Hosts of the inventory that this scenario does without.
      without ? [ ],
      # Machines that are no nodes, and their addresses.
      outsiders ? {
        client = "10.79.0.100";
      },
      globalTimeout ? 900,
      testScript,
    }:
    let
      hosts = removeAttrs (lib.importJSON (./inventories + "/${inventory}.json")).hosts without;
      archives = identities inventory;

      host = hostName: { role, ... }: {
        imports = [
          (import ./machine.nix { inherit archives hostName role; })
          (extra.${hostName} or { })
        ];
      };
      outsider = address: {
        imports = [ (import ./outsider.nix { inherit address archives hosts; }) ];
      };
    in
    {
      inherit globalTimeout name;

      ${machines} = lib.mapAttrs host hosts // lib.mapAttrs (_: outsider) outsiders;

      testScript = ''
        POSTGRES = [${
          lib.concatMapStringsSep ", " (lib.replaceStrings [ "-" ] [ "_" ]) (
            lib.attrNames (lib.filterAttrs (_: { role, ... }: role == "postgres") hosts)
          )
        }]
        ${builtins.readFile ./cluster.py}
        ${testScript}
      '';
    };
in
{
  run = name: scenario: pkgs.testers.runNixOSTest (scenarioModule name scenario);
}
