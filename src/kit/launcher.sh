#!/bin/sh
# Runs airlift from a kit on a machine that has nothing installed:  sh airlift/airlift [--kit-dir DIR] COMMAND...
#
# A removable medium often does not allow programs to run, so this script unpacks airlift's executable for this machine into a directory of
# the user, checks its SHA-256 digest and runs it. It needs sh, gzip, and sha256sum, openssl or busybox; it does not need root.
# The digest is checked once after each boot, and again whenever the file has changed (its inode, size, mtime or ctime). Hashing 130 MB takes
# up to half a second, too long for each command.
set -u
mask=$(umask)
umask 077

version='@VERSION@'
# One line per platform: PLATFORM FILE DIGEST BYTES
executables='@EXECUTABLES@'

say() { printf '%s\n' "$*" >&2; }
fail() {
  say "airlift: $1"
  shift
  for line in "$@"; do say "  hint: $line"; done
  exit 1
}

# Prints a message of a program on one line.
line_of() {
  set -f
  # shellcheck disable=SC2086
  set -- $1
  set +f
  printf '%s' "$*"
}

# Removes --kit-dir from the arguments; the others keep their order.
directory=${AIRLIFT_KIT_DIR:-}
left=$#
while [ "$left" -gt 0 ]; do
  argument=$1
  shift
  left=$((left - 1))
  case $argument in
    --kit-dir)
      [ "$left" -gt 0 ] && [ -n "$1" ] || { say 'airlift: --kit-dir: no directory'; exit 2; }
      directory=$1
      shift
      left=$((left - 1))
      ;;
    --kit-dir=*) directory=${argument#--kit-dir=} ;;
    *) set -- "$@" "$argument" ;;
  esac
done

case $0 in
  */*) kit=${0%/*} ;;
  *) kit=. ;;
esac
user=$(id -u)
mode=700
# What root puts into a named directory is for all users.
if [ "$user" = 0 ] && [ -n "$directory" ]; then
  umask 022
  mode=755
fi

system=$(uname -s)
machine=$(uname -m)
case $system/$machine in
  Linux/x86_64 | Linux/amd64) platform=linux/amd64 ;;
  Linux/aarch64 | Linux/arm64) platform=linux/arm64 ;;
  *) platform=none ;;
esac
file='' digest='' bytes='' platforms=''
while read -r name its_file its_digest its_bytes; do
  platforms="$platforms${platforms:+, }$name"
  [ "$name" = "$platform" ] || continue
  file=$its_file digest=$its_digest bytes=$its_bytes
done <<END
$executables
END
[ -n "$digest" ] || fail "this kit has no airlift for this machine ($system $machine); it has $platforms" \
  'prepare another kit where airlift is installed: airlift kit --platform linux/amd64,linux/arm64 -o DIR'
packed=$kit/$file
base=airlift-$version-${platform#*/}-$(printf %.12s "$digest")
check='the kit is damaged or was changed: check it with (cd airlift && sha256sum -c SHA256SUMS), and copy it again'

if command -v sha256sum >/dev/null 2>&1; then hash='sha256sum'
elif command -v openssl >/dev/null 2>&1; then hash='openssl dgst -sha256 -r'
elif command -v busybox >/dev/null 2>&1; then hash='busybox sha256sum'
else fail 'no program computes SHA-256 digests on this machine' 'install coreutils, openssl or busybox'
fi
sha256_of() { $hash <"$1" | { read -r value _ && printf %s "$value"; }; }

# Prints what changes whenever a file changes or the machine starts again. Fails if this machine cannot tell.
state_of() {
  boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null) && [ -n "$boot" ] &&
    state=$(stat -c '%d %i %s %y %z' "$1" 2>/dev/null) && [ -n "$state" ] &&
    printf '%s %s %s' "$digest" "$boot" "$state"
}

# Whether the digest of a file was checked since it changed.
is_checked() { [ -f "$1.checked" ] && [ ! -L "$1" ] && now=$(state_of "$1") && [ "$(cat "$1.checked" 2>/dev/null)" = "$now" ]; }

# Whether a file has the right digest.
is_intact() { [ -f "$1" ] && [ ! -L "$1" ] && [ "$(sha256_of "$1")" = "$digest" ]; }

# Prints why a directory is not safe: a user other than root could replace what is in it.
why_unsafe() {
  if [ -L "$1" ]; then printf 'it is a symbolic link'; return; fi
  read -r permissions _ owner _ <<END
$(LC_ALL=C ls -ldn "$1" 2>/dev/null)
END
  case $permissions in
    d????w* | d???????w*) printf 'other users can write to it' ;;
    d*) [ "$owner" = "$user" ] || [ "$owner" = 0 ] || printf 'it belongs to user %s' "$owner" ;;
    *) printf 'it is not a directory' ;;
  esac
}

# Runs the executable once, to explain why it cannot run.
try() {
  said=$(LC_ALL=C "$1" --version 2>&1 </dev/null)
  code=$?
  [ "$code" != 0 ] || return 0
  said=$(line_of "$said")
  case $said in
    *GLIBC*) fail "this machine's C or C++ library is too old: $said" \
      'airlift needs glibc 2.28 or later (RHEL 8, Debian 10, Ubuntu 20.04); on older machines run the image of airlift kit --image' ;;
    *lib*.so*) fail "this machine lacks a library that Node.js needs: $said" \
      'install libstdc++ (RHEL, Fedora, SUSE) or libstdc++6 (Debian, Ubuntu), or run the image of airlift kit --image' ;;
    *ermission\ denied* | *not\ permitted*) return 1 ;;
    *not\ found* | *o\ such\ file*) fail "this machine has no glibc: $said" \
      'Alpine and other systems with musl cannot run Node.js for glibc: run the image of airlift kit --image' ;;
  esac
  fail "$1 does not run (exit code $code): $said"
}

refused=''
refuse() { refused="$refused
  $1: $2"; }

# Unpacks the executable into a directory. Fails if that directory is unsuitable, and records why.
unpack() {
  free=$(LC_ALL=C df -Pk "$1" 2>/dev/null | { read -r _; read -r _ _ _ kib _; printf %s "${kib:-}"; })
  want=$((bytes / 1024 + 1024))
  case $free in
    '' | *[!0-9]*) ;;
    *) [ "$free" -ge "$want" ] || { refuse "$1" "not enough space; got $((free / 1024)) MiB, want $((want / 1024)) MiB"; return 1; } ;;
  esac
  probe=$1/.probe.$$
  unpacked=$1/.unpacked.$$
  # Many systems mount home or temporary directories noexec.
  { printf '#!/bin/sh\nexit 0\n' >"$probe" && chmod 700 "$probe"; } 2>/dev/null || { refuse "$1" 'cannot be written'; return 1; }
  "$probe" 2>/dev/null
  code=$?
  rm -f "$probe"
  [ "$code" = 0 ] || { refuse "$1" 'programs in it cannot be run (mounted noexec, or an allow-list of programs)'; return 1; }
  [ -f "$packed" ] || fail "read $packed: no such file" "$check"
  command -v gzip >/dev/null 2>&1 || fail 'gzip is missing on this machine' 'install gzip'
  trap 'rm -f "$unpacked"; exit 130' HUP INT TERM
  said=$(LC_ALL=C gzip -dc <"$packed" 2>&1 >"$unpacked") || {
    rm -f "$unpacked"
    said=$(line_of "$said")
    case $said in
      *space* | *quota* | *large*) refuse "$1" "$said"; return 1 ;;
      *) fail "unpack $packed: $said" "$check" ;;
    esac
  }
  is_intact "$unpacked" || {
    got=$(sha256_of "$unpacked")
    rm -f "$unpacked"
    fail "unpack $packed: digest mismatch; got sha256:$got, want sha256:$digest" "$check"
  }
  chmod "$mode" "$unpacked" && mv -f "$unpacked" "$1/$base" || { rm -f "$unpacked"; refuse "$1" 'cannot be written'; return 1; }
  trap - HUP INT TERM
}

# Runs airlift from a directory. Returns only if that directory is unsuitable, and records why.
run_in() {
  where=$1
  shift
  program=$where/$base
  said=$(mkdir -p "${where%/*}" 2>&1 && { [ -d "$where" ] || [ -L "$where" ] || mkdir "$where" 2>&1; }) || {
    refuse "$where" "cannot be created: ${said##*: }"
    return 1
  }
  why=$(why_unsafe "$where")
  [ -z "$why" ] || { refuse "$where" "not used, because $why"; return 1; }
  if ! is_checked "$program"; then
    is_intact "$program" || unpack "$where" || return 1
    try "$program" || { refuse "$program" 'this system does not allow to run it'; return 1; }
    now=$(state_of "$program") && { printf '%s' "$now" >"$program.checked"; } 2>/dev/null
  fi
  umask "$mask"
  exec "$program" "$@"
}

if [ -n "$directory" ]; then
  case $directory in
    /*) ;;
    *) directory=$(pwd)/$directory ;;
  esac
  run_in "${directory%/}" "$@"
else
  case ${XDG_CACHE_HOME:-} in /*) run_in "$XDG_CACHE_HOME/airlift/kit" "$@" ;; esac
  case ${HOME:-} in
    /?*)
      # sudo may keep the home directory of another user, who could replace what is below it.
      why=$(why_unsafe "$HOME/.")
      [ -d "$HOME" ] || why='it is missing'
      if [ -z "$why" ]; then run_in "$HOME/.cache/airlift/kit" "$@"; else refuse "$HOME" "not used, because $why"; fi
      ;;
  esac
  run_in "/var/tmp/airlift-kit-$user" "$@"
  run_in "/tmp/airlift-kit-$user" "$@"
fi
fail "no directory is suitable to unpack airlift ($((bytes / 1048576)) MiB) and to run it:$refused" \
  'name a directory whose filesystem allows programs: sh airlift/airlift --kit-dir DIR COMMAND...' \
  "an administrator of an allow-list such as fapolicyd can allow this one file: fapolicyd-cli --file add DIR/$base, then fapolicyd-cli --update"
