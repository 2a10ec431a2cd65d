# Makes what goes into an initramfs out of a kernel's modules: /in/kernel.tar and /in/config (a kernel image), the
# lists of /keep and, where there are any, firmware packages in /debs in; /out/kernel.tar and /out/firmware, a
# line for each file taken and each one missing, out. In: EPOCH.
set -eu
umask 022
export LC_ALL=C
all=/tmp/all new=/tmp/new
mkdir -p $all $new/lib/modules
tar -C $all --no-same-owner -xf /in/kernel.tar
: > /tmp/named

release=
for dir in "$all"/lib/modules/*/; do
	[ -d "$dir" ] || continue
	[ -z "$release" ] || { echo "lib/modules: error: want the modules of one kernel, got $release and $dir" >&2; exit 1; }
	release=$(basename "$dir")
done

# modules copies what is to be kept, has depmod describe it anew, and lists the firmware that it names.
modules() {
	from=$all/lib/modules/$release to=$new/lib/modules/$release
	mkdir "$to"
	(cd "$from" && xargs -r -d '\n' cp --parents -t "$to" -- < /keep/modules)
	for file in modules.builtin modules.builtin.modinfo; do
		[ ! -e "$from/$file" ] || cp "$from/$file" "$to"
	done
	if [ -e "$from/modules.order" ]; then
		awk 'kept { if ($0 in name) print; next } { sub(/\.ko.*/, ".ko"); name[$0] }' \
			/keep/modules kept=1 "$from/modules.order" > "$to/modules.order"
	fi
	# Debian's kmod is built without zlib: it would pass over these without a word.
	find "$to" -name '*.ko.gz' -exec gzip -d {} +
	depmod -b $new "$release"
	wanted=$(wc -l < /keep/modules) got=$(grep -c : "$to/modules.dep" || true)
	[ "$wanted" = "$got" ] || { echo "depmod: error: it knows $got modules, want $wanted" >&2; exit 1; }

	find "$to" -name '*.ko*' -print0 | sort -z | xargs -r -0 modinfo > /tmp/modinfo
	awk '
		sub(/^filename: */, "") { sub(/.*\//, ""); sub(/\.ko.*/, ""); module = $0 }
		sub(/^firmware: */, "") { print $0 "\t" module }' /tmp/modinfo > /tmp/named
	[ ! -e "$to/modules.builtin.modinfo" ] ||
		tr '\0' '\n' < "$to/modules.builtin.modinfo" | sed -n 's/^\([^.=]*\)\.firmware=\(.*\)/\2\t\1/p' >> /tmp/named
}
[ -z "$release" ] || modules
sort -u -o /tmp/named /tmp/named

# unpack lays all packages' firmware into /tmp/firmware and lists it: kind, path, size, package, a link's target.
unpack() {
	mkdir /tmp/firmware
	: > /tmp/files
	[ -s /keep/firmware ] || return 0
	for deb in /debs/*.deb; do
		[ -e "$deb" ] || continue
		rm -rf /tmp/deb
		dpkg-deb -x "$deb" /tmp/deb
		# shellcheck disable=SC2016 # dpkg's own
		package=$(dpkg-deb -W --showformat='${Package}' "$deb")
		for dir in /tmp/deb/usr/lib/firmware /tmp/deb/lib/firmware; do
			[ -d "$dir" ] || continue
			find "$dir" \( -type f -o -type l \) -printf "%y\t%P\t%s\t$package\t%l\n" >> /tmp/files
			cp -a "$dir/." /tmp/firmware
		done
	done
	sort -t "$(printf '\t')" -k 2,2 -o /tmp/files /tmp/files
	cut -f 2 /tmp/files | uniq -d > /tmp/twice
	[ ! -s /tmp/twice ] || { echo "lib/firmware: error: more than one package has $(head -n 1 /tmp/twice)" >&2; exit 1; }
}

# choose reads /tmp/files, /tmp/named and /keep/firmware and prints "file PATH PLACE SIZE PACKAGE FOR", "link PLACE
# TARGET", "missing NAME MODULE" and "unmatched PATTERN", with tabs. Kernels that read compressed firmware get
# it so, which costs the tmpfs a fifth; a page or less would not shrink there.
choose() {
	# shellcheck disable=SC2016 # awk's own
	awk -F '\t' -v xz="$1" -v zst="$2" '
		function logical(p) {
			sub(/\.(xz|zst)$/, "", p)
			return p
		}
		# walk follows p from the top of the tree to a file, "" where it leads to none. Links on the way are
		# appended to passed; whole[i] says that passed[i] leads to the file itself, not to its directory.
		function walk(p,    parts, n, i, at, rest, hops, to) {
			passes = 0
			for (hops = 0; hops <= 40; hops++) {
				n = split(p, parts, "/")
				at = to = ""
				for (i = 1; i <= n && to == ""; i++) {
					if (parts[i] == "" || parts[i] == ".") continue
					if (parts[i] == "..") {
						if (at == "") return ""
						if (!sub(/\/[^\/]*$/, "", at)) at = ""
						continue
					}
					at = at (at == "" ? "" : "/") parts[i]
					if (at in target) to = target[at]
				}
				if (to == "") return at in size ? at : ""
				rest = ""
				for (; i <= n; i++) rest = rest "/" parts[i]
				passed[++passes] = at
				whole[passes] = rest == ""
				if (to ~ /^\//) {
					if (!sub(/^(\/usr)?\/lib\/firmware\//, "", to)) return ""
				} else if (at ~ /\//) {
					sub(/[^\/]*$/, "", at)
					to = at to
				}
				p = to rest
			}
			return ""
		}
		# take notes the file that p leads to, and every link on the way to it.
		function take(p, why,    file, ending, i, to) {
			file = walk(p)
			if (file == "") return 0
			ending = xz && size[file] > 4096 && file !~ /\.(xz|zst)$/ ? ".xz" : ""
			for (i = 1; i <= passes; i++) {
				if (passed[i] in taken) continue
				taken[passed[i]]
				to = target[passed[i]]
				sub(/^\/usr\/lib\//, "/lib/", to)
				print "link\t" passed[i] (whole[i] ? ending : "") "\t" to (whole[i] ? ending : "")
			}
			if (!(file in taken)) {
				taken[file]
				print "file\t" file "\t" file ending "\t" size[file] "\t" package[file] "\t" why
			}
			return 1
		}
		# matching takes all whose path or, where that is compressed, name fits.
		function matching(expression, why,    i, found) {
			for (i = 1; i <= paths; i++)
				if (path[i] ~ expression || logical(path[i]) ~ expression) found += take(path[i], why)
			return found
		}
		# expression is what a pattern of a driver means; drivers use "*" across directories.
		function expression(pattern,    i, c, e, set) {
			for (i = 1; i <= length(pattern); i++) {
				c = substr(pattern, i, 1)
				if (set) set = c != "]"
				else if (c == "[") set = 1
				else if (c == "*") c = ".*"
				else if (c == "?") c = "."
				else if (c ~ /[.+(){}|$]/) c = "[" c "]"
				e = e c
			}
			return "^" e "$"
		}
		FILENAME == "/tmp/files" {
			if ($2 ~ /\.xz$/ && !xz || $2 ~ /\.zst$/ && !zst) next
			path[++paths] = $2
			if ($1 == "l") target[$2] = $5
			else { size[$2] = $3; package[$2] = $4 }
			next
		}
		FILENAME == "/keep/firmware" {
			if ($1 == "auto") auto = 1
			else if (!matching($2, $1)) print "unmatched\t" $1
			next
		}
		!auto || $1 in asked { next }
		{
			asked[$1]
			if ($1 ~ /[*?[]/) found = matching(expression($1), $2)
			else found = take($1, $2) || take($1 ".zst", $2) || take($1 ".xz", $2)
			if (!found) print "missing\t" $1 "\t" $2
		}' /tmp/files /keep/firmware /tmp/named
}

# place puts into the new tree what choose says, and completes the lines of files with the bytes that they take.
place() {
	tab=$(printf '\t')
	while IFS=$tab read -r kind a b rest; do
		case $kind in
		file)
			to=$new/lib/firmware/$b
			mkdir -p "$(dirname "$to")"
			if [ "$a" = "$b" ]; then
				cp "/tmp/firmware/$a" "$to"
			else # the kernel knows no other checksum
				xz -T1 --check=crc32 --lzma2=preset=2,dict=1MiB -c < "/tmp/firmware/$a" > "$to"
			fi
			printf 'file\t%s\t%s\t%s\t%s\n' "$a" "$b" "$(stat -c %s "$to")" "$rest"
			;;
		link)
			mkdir -p "$(dirname "$new/lib/firmware/$a")"
			ln -s "$b" "$new/lib/firmware/$a"
			printf 'link\t%s\t%s\n' "$a" "$b"
			;;
		*) printf '%s\t%s%s\n' "$kind" "$a" "${b:+$tab$b}" ;;
		esac
	done
}

reads() { if grep -q "^CONFIG_FW_LOADER_COMPRESS_$1=y" /in/config; then echo 1; else echo 0; fi; }
unpack
choose "$(reads XZ)" "$(reads ZSTD)" > /tmp/chosen
place < /tmp/chosen > /tmp/placed
sort -o /out/firmware /tmp/placed
tar -C $new --sort=name --mtime="@$EPOCH" --owner=0 --group=0 --numeric-owner -cf /out/kernel.tar .
echo "kept $(wc -l < /keep/modules) modules, and $(grep -c '^file' /out/firmware || true) firmware files"
