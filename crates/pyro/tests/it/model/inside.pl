# Runs inside a workspace, read from standard input: does what the lines after __END__ say, one operation a line, and then tells all of
# the trees that they may touch, so that nothing has to be believed of how a file system behaves. Arguments and names are hexadecimal: they
# may hold any byte. An operation that the kernel refuses (there is no such file, there is one already) is no failure.
use strict;
use warnings;
use Fcntl qw(O_WRONLY O_CREAT O_TRUNC O_APPEND O_NONBLOCK SEEK_SET);
use POSIX ();

# Numbers of system calls that perl has no names for (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h).
my %numbers = (
    x86_64 => { statx => 332, utimensat => 280, set => 189, get => 192, list => 195, remove => 198 },
    aarch64 => { statx => 291, utimensat => 88, set => 6, get => 9, list => 12, remove => 15 },
);
my $nr = $numbers{(POSIX::uname())[4]} or die "what are the numbers of system calls here?";
my ($AT_FDCWD, $NOFOLLOW) = (-100, 0x100);

# Largest file whose content is told; holes in it cost nothing.
my $TOLD_BYTES_MAX = 8 << 20;
my $BLOCK = 4096;

sub into {
    my ($path, $flags, $data, $at, $size) = @_;
    # Not blocking: nobody reads from a FIFO here.
    sysopen(my $file, $path, O_WRONLY | O_NONBLOCK | $flags, 0644) or return;
    truncate($file, $size) if defined $size;
    seek($file, $at, SEEK_SET) if defined $at;
    syswrite($file, $data);
    close($file);
}

sub remove { system("rm", "-rf", "--", $_[0]) }

# Starts what lives on when the command is over, in each of the ways that stand in a snapshot's way.
sub background {
    my ($kind, $path) = @_;
    pipe(my $ready, my $begun);
    my $pid = fork();
    if ($pid == 0) {
        close($ready);
        POSIX::setsid();
        open(STDIN, "<", "/dev/null");
        open(STDOUT, ">", "/dev/null");
        open(STDERR, ">", "/dev/null");
        my $held;
        sysopen($held, $path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK, 0644) if $kind eq "writes" || $kind eq "holds";
        unlink($path) if $kind eq "holds";
        mkdir($path) && chdir($path) if $kind eq "stands";
        $SIG{USR1} = sub {
            syswrite($held, "more\n") if $held;
            into(poked($$), O_CREAT | O_APPEND, ".");
        };
        syswrite($begun, "1");
        close($begun);
        sleep(1000) while 1;
    }
    close($begun);
    sysread($ready, my $one, 1);
    print "pid $pid\n";
}

# Where a process says that it was poked: in memory, in no layer.
sub poked { "/run/poked.$_[0]" }

# The process is told to write, and has, wherever its file is by now: what it writes must not get into what was sealed.
sub poke {
    my ($pid) = @_;
    my $before = (-s poked($pid)) // 0;
    kill("USR1", $pid) or return;
    for (1 .. 2000) {
        return if ((-s poked($pid)) // 0) > $before;
        select(undef, undef, undef, 0.002);
    }
}

sub end {
    my ($pid) = @_;
    kill("KILL", $pid);
    for (1 .. 2000) {
        return unless kill(0, $pid);
        select(undef, undef, undef, 0.002);
    }
}

my %do = (
    write => sub { into($_[0], O_CREAT | O_TRUNC, $_[1]) },
    append => sub { into($_[0], O_CREAT | O_APPEND, $_[1]) },
    patch => sub { into($_[0], 0, $_[2], $_[1]) },
    truncate => sub { truncate($_[0], $_[1]) if -f $_[0] },
    sparse => sub { into($_[0], O_CREAT, $_[3], $_[2], $_[1]) },
    mkdir => sub { mkdir($_[0], oct($_[1])) },
    rmdir => sub { rmdir($_[0]) },
    remove => sub { remove($_[0]) },
    rename => sub { rename($_[0], $_[1]) },
    # Overlays do not rename directories of lower layers; mv copies them then.
    move => sub { system("mv", "-Tf", "--", $_[0], $_[1]) },
    copy => sub { system("cp", "-aT", "--remove-destination", "--", $_[0], $_[1]) },
    link => sub { link($_[0], $_[1]) },
    symlink => sub { symlink($_[0], $_[1]) },
    chmod => sub { chmod(oct($_[1]), $_[0]) unless -l $_[0] },
    chown => sub { POSIX::lchown($_[1], $_[2], $_[0]) },
    touch => sub { syscall($nr->{utimensat}, $AT_FDCWD, $_[0], pack("qqqq", $_[1], $_[2], $_[1], $_[2]), $NOFOLLOW) },
    set => sub { syscall($nr->{set}, $_[0], $_[1], $_[2], length($_[2]), 0) },
    # It means something on a file only.
    capable => sub { syscall($nr->{set}, @_, length($_[2]), 0) if -f $_[0] && !-l $_[0] },
    unset => sub { syscall($nr->{remove}, $_[0], $_[1]) },
    fifo => sub { POSIX::mkfifo($_[0], oct($_[1])) },
    # Something is another kind of thing afterwards, under the same name.
    file => sub { remove($_[0]); into($_[0], O_CREAT, $_[1]) },
    directory => sub { remove($_[0]); mkdir($_[0]); into("$_[0]/in it", O_CREAT, $_[1]) },
    # As it was, but its directory has seen it; or written again, the same.
    vain => sub { into("$_[0].vain", O_CREAT, "vain"); unlink("$_[0].vain") },
    again => sub { my $mode = (lstat($_[0]))[2]; chmod($mode & 07777, $_[0]) if defined $mode && !-l $_[0] },
    background => \&background,
    poke => \&poke,
    end => \&end,
);

sub attributes {
    my ($path) = @_;
    my $names = "\0" x 8192;
    my $length = syscall($nr->{list}, $path, $names, length($names));
    return "-" if $length <= 0;
    my @told;
    for my $name (sort grep { /^user\./ || $_ eq "security.capability" } split(/\0/, substr($names, 0, $length))) {
        my $value = "\0" x 4096;
        my $bytes = syscall($nr->{get}, $path, $name, $value, length($value));
        push @told, unpack("H*", $name) . "=" . unpack("H*", substr($value, 0, $bytes)) if $bytes >= 0;
    }
    return @told ? join(",", @told) : "-";
}

# Blocks that are not all zero, as INDEX:HEX.
sub content {
    my ($path, $size) = @_;
    die "$path is too large to be told" if $size > $TOLD_BYTES_MAX;
    open(my $file, "<:raw", $path) or die "cannot read $path: $!";
    my ($index, @blocks) = (0);
    while (read($file, my $block, $BLOCK)) {
        push @blocks, "$index:" . unpack("H*", $block) if $block =~ /[^\0]/;
        $index++;
    }
    return @blocks ? join(",", @blocks) : "-";
}

sub tell_node {
    my ($path) = @_;
    my $stat = "\0" x 256;
    return if syscall($nr->{statx}, $AT_FDCWD, $path, $NOFOLLOW, 0x7ff, $stat) != 0;
    my ($uid, $gid, $mode, $inode, $size) = unpack("x20 L L S x2 Q Q", $stat);
    my ($seconds, $nanoseconds) = unpack("x112 q L", $stat);
    my ($major, $minor) = unpack("x136 L L", $stat);
    my $kind = { 0100000 => "f", 0040000 => "d", 0120000 => "l", 0010000 => "p" }->{ $mode & 0170000 } // "o";
    my $content = $kind eq "f" ? content($path, $size) : $kind eq "l" ? unpack("H*", readlink($path)) : "-";
    $size = 0 if $kind eq "d";
    print join(" ", "node", unpack("H*", $path), $kind, $mode & 07777, $uid, $gid, $seconds, $nanoseconds, "$major:$minor:$inode", $size,
        $content, attributes($path)), "\n";
    return unless $kind eq "d";
    opendir(my $names, $path) or die "cannot list $path: $!";
    return grep { $_ ne "." && $_ ne ".." } readdir($names);
}

umask(022);
my @trees;
while (my $line = <DATA>) {
    chomp($line);
    my ($what, @words) = split(/ /, $line, -1);
    my @arguments = map { pack("H*", $_) } @words;
    if ($what eq "tree") { push @trees, $arguments[0] }
    else { ($do{$what} or die "there is no $what")->(@arguments) }
}
# Of the root only itself.
tell_node("/");
while (defined(my $path = shift @trees)) {
    push @trees, map { "$path/$_" } tell_node($path);
}
print "end\n";
__END__
